"""Which nuisance scales which component of which bins: the static skeleton of a binned likelihood."""

import dataclasses
from collections.abc import Sequence

from jcevns.experiments.experiment import SIGNAL, Experiment
from jcevns.likelihood.nuisances import label

__all__ = ["Layout", "layout_of"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Structure of a `TemplateModel`, hashable: the batched fit is compiled once per structure, not per data.

    Attributes:
        bins: first bin and end of each experiment.
        signal: nuisances (by index) that scale each experiment's signal.
        background: owner (index of the experiment) and nuisances of each background.
        nuisances: how many there are.
        order: elimination order, private nuisances first: the Hessian is an arrowhead, the shared ones its head.
    """

    bins: tuple[tuple[int, int], ...]
    signal: tuple[tuple[int, ...], ...]
    background: tuple[tuple[int, tuple[int, ...]], ...]
    nuisances: int
    order: tuple[int, ...]


def layout_of(experiments: Sequence[Experiment], labels: Sequence[str]) -> Layout:
    """Layout of a joint likelihood with the nuisances `labels`, in the order of the model's arrays."""
    index = {name: i for i, name in enumerate(labels)}

    def acting(experiment: Experiment, component: str) -> tuple[int, ...]:
        names = [label(experiment, n) for n in experiment.nuisances if component in n.components]
        return tuple(sorted(index[name] for name in names if name in index))

    bins, signal, background, stop = [], [], [], 0
    for i, experiment in enumerate(experiments):
        bins.append((stop, stop + experiment.observed.size))
        stop = bins[-1][1]
        signal.append(acting(experiment, SIGNAL))
        background += [(i, acting(experiment, name)) for name in experiment.backgrounds]
    users: list[set[int]] = [set() for _ in labels]
    for owner, acts in [*enumerate(signal), *background]:
        for j in acts:
            users[j].add(owner)
    order = sorted(range(len(labels)), key=lambda j: (len(users[j]), min(users[j], default=-1), j))
    return Layout(tuple(bins), tuple(signal), tuple(background), len(labels), tuple(order))
