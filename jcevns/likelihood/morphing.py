"""Templates between anchors: interpolation along shape nuisances, value and derivatives at once."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.likelihood.anchors import Group

__all__ = ["Morphed", "along_each", "blend", "surroundings"]


class Morphed(NamedTuple):
    """Templates at a position, and their derivatives along the shapes."""

    value: Float[Array, "component bin"]
    slope: Float[Array, "shape component bin"]
    cross: dict[tuple[int, int], Float[Array, "component bin"]]


def surroundings(pick: Callable[[Any, int], Array], sizes: tuple[int, ...], first: int, cell: Array) -> Array:
    """Templates around a position in one group, shape (2, ..., 2, bin): neighbours along the last shape at once."""
    strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1).tolist()
    pairs = []
    for upper in itertools.product((0, 1), repeat=len(sizes) - 1):
        row = first + cell[-1]
        for i, step in enumerate(upper):
            row = row + (cell[i] + step) * strides[i]
        pairs.append(pick(row, 2))
    return jnp.stack(pairs).reshape((2,) * len(sizes) + (-1,))


def blend(corners: Array, fraction: Array, width: Array) -> dict[tuple[int, ...], Array]:
    """Multilinear interpolation of (2, ..., 2, bin) corners: value, first and mixed second derivatives."""
    terms: dict[tuple[int, ...], Array] = {(): corners}
    for axis in range(fraction.size):
        new = {}
        for key, block in terms.items():
            low, high = block[0], block[1]
            new[key] = low + (high - low) * fraction[axis]
            if len(key) < 2:
                new[(*key, axis)] = (high - low) / width[axis]
        terms = new
    return terms


def along_each(
    groups: tuple[Group, ...], anchors: tuple[Array, ...], position: Float[Array, " shape"], cell: Array
) -> Callable[[Callable[[Any], Array]], tuple[Float[Array, "*front bin"], Float[Array, "shape *front bin"]]]:
    """Interpolation along shapes that are known each by itself, all at once: the same sum, and one gather to compile.

    Args:
        groups: of one shape each.
        anchors: of each shape.
        position: along each shape.
        cell: index of the lower anchor.

    Returns:
        A function to values and their slopes along the shapes, of what gives templates at a list of rows, first axis.
    """
    first = np.cumsum([0, *(group.rows for group in groups[:-1])])
    low = jnp.stack([a[cell[i]] for i, a in enumerate(anchors)])
    width = jnp.stack([a[cell[i] + 1] for i, a in enumerate(anchors)]) - low
    row = cell + jnp.asarray(first, cell.dtype)
    rows = jnp.concatenate([row, row + 1, jnp.full(1, groups[0].nominal, cell.dtype)])

    def interpolated(take: Callable[[Any], Array]) -> tuple[Array, Array]:
        found = take(rows)
        lower, upper, nominal = found[: row.size], found[row.size : -1], found[-1]
        along = (-1,) + (1,) * nominal.ndim
        slope = (upper - lower) / width.reshape(along)
        return nominal + jnp.sum(lower - nominal + slope * (position - low).reshape(along), axis=0), slope

    return interpolated
