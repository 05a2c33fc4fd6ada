"""Axes of bins that have several dimensions, and counts along one of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jcevns.spelling import unknown

__all__ = ["BinAxis", "along", "find_axis"]


class BinAxis(NamedTuple):
    """One dimension of the bins.

    Attributes:
        label: what it is of, with unit.
        edges: increasing, in that unit; means where runs have edges of their own.
    """

    label: str
    edges: tuple[float, ...]


def find_axis(axes: Sequence[BinAxis], name: str) -> BinAxis:
    """The axis of a label, or of the one label that begins so.

    Raises:
        ValueError: no axis, or several.
    """
    found = [a for a in axes if a.label == name] or [a for a in axes if a.label.startswith(name)]
    if len(found) != 1:
        raise ValueError(unknown("axis", name, [a.label for a in axes]))
    return found[0]


def along(axes: Sequence[BinAxis], name: str, counts: Any) -> Any:
    """Counts (..., bin) summed over all but one axis, (..., bin of the axis).

    Args:
        axes: of the bins of one run, the last varies fastest.
        name: of the axis that stays.
        counts: of all runs, one after the other; of NumPy or JAX.

    Example:
        >>> import numpy as np
        >>> from jcevns.experiments.axes import BinAxis, along
        >>> axes = BinAxis("energy [keV]", (0.0, 1.0, 2.0)), BinAxis("time [us]", (0.0, 1.0, 4.0, 6.0))
        >>> along(axes, "time", np.arange(12.0)).tolist()  # two runs of 2 x 3 bins
        [18.0, 22.0, 26.0]
    """
    sizes = [len(a.edges) - 1 for a in axes]
    place = list(axes).index(find_axis(axes, name))
    shape = counts.shape[:-1]
    # Runs and slower axes, this one, faster axes.
    cells = counts.reshape(*shape, -1, sizes[place], math.prod(sizes[place + 1 :]))
    return cells.sum(axis=(-3, -1))
