"""Which nuisance scales which component of which bins: the static skeleton of a binned likelihood."""

import dataclasses

__all__ = ["Component", "Layout"]


@dataclasses.dataclass(frozen=True)
class Component:
    """A component of the expected counts of one experiment.

    Attributes:
        experiment: index.
        place: which of its sources a signal is, or the row of a background.
        acting: nuisances (by index) that scale it.
    """

    experiment: int
    place: int
    acting: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Structure of a `Model`, hashable: the batched fit is compiled once per structure, not per data.

    Attributes:
        bins: first bin and end of each experiment.
        signals: components that the theory predicts.
        backgrounds: the others.
        nuisances: how many there are.
        order: elimination order, private nuisances first: the Hessian is an arrowhead, the shared ones its head.
        plain: nothing but templates times factors above zero: the batched fit is written for this.
    """

    bins: tuple[tuple[int, int], ...]
    signals: tuple[Component, ...]
    backgrounds: tuple[Component, ...]
    nuisances: int
    order: tuple[int, ...]
    plain: bool

    def signals_of(self, experiment: int) -> list[Component]:
        """Signals of one experiment."""
        return [c for c in self.signals if c.experiment == experiment]

    def backgrounds_of(self, experiment: int) -> list[Component]:
        """Backgrounds of one experiment."""
        return [c for c in self.backgrounds if c.experiment == experiment]


def elimination_order(components: tuple[Component, ...], nuisances: int) -> tuple[int, ...]:
    """Nuisances of few experiments first."""
    users: list[set[int]] = [set() for _ in range(nuisances)]
    for component in components:
        for j in component.acting:
            users[j].add(component.experiment)
    return tuple(sorted(range(nuisances), key=lambda j: (len(users[j]), min(users[j], default=-1), j)))
