"""Rows of templates: where they are known along shape nuisances, and how those of several experiments meet."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jcevns.experiments.experiment import Experiment

__all__ = ["Group", "groups_of", "nominal_row", "rows_of", "spread"]


@dataclasses.dataclass(frozen=True)
class Group:
    """Shape nuisances whose templates are known at every combination of their anchors.

    The templates of several groups add up: nominal plus what each group changes.

    Attributes:
        experiment: index of the experiment it belongs to.
        sizes: anchors along each of its shapes.
        nominal: row of the nominal templates among its own, the last shape fastest.
    """

    experiment: int
    sizes: tuple[int, ...]
    nominal: int

    @property
    def rows(self) -> int:
        """Combinations of its anchors."""
        return int(np.prod(self.sizes))


def groups_of(experiments: Sequence[Experiment]) -> tuple[Group, ...]:
    """Groups of all experiments, in the order of their shape nuisances."""
    groups = []
    for i, experiment in enumerate(experiments):
        shapes = experiment.shapes
        if not shapes:
            continue
        for members in [shapes] if experiment.morphing == "grid" else [(s,) for s in shapes]:
            sizes = tuple(len(s.anchors) for s in members)
            place = tuple(s.anchors.index(0.0) for s in members)
            groups.append(Group(i, sizes, int(np.ravel_multi_index(place, sizes))))
    return tuple(groups)


def rows_of(groups: Sequence[Group]) -> int:
    """Rows of templates that a signal has, one if nothing moves."""
    return sum(group.rows for group in groups) or 1


def nominal_row(experiment: Experiment) -> int:
    """Row of the nominal templates among those of an experiment by itself."""
    groups = groups_of([experiment])
    return groups[0].nominal if groups else 0


def spread(groups: Sequence[Group], experiment: int, table: Any, library: Any) -> Any:
    """The rows of one experiment as rows of all: nominal where the shapes of others move.

    Args:
        groups: of all experiments.
        experiment: index of this one.
        table: its templates, shape (row, ...); one row where it has no shapes.
        library: NumPy or JAX's, as the table.
    """
    own = [group for group in groups if group.experiment == experiment]
    nominal = table[own[0].nominal if own else 0]
    pieces, first = [], 0
    for group in groups:
        if group.experiment == experiment:
            pieces.append(table[first : first + group.rows])
            first += group.rows
        else:
            pieces.append(library.broadcast_to(nominal, (group.rows, *nominal.shape)))
    return library.concatenate(pieces) if pieces else table
