"""Templates between anchors: interpolation along shape nuisances, value and derivatives at once."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.likelihood.anchors import Group

__all__ = ["Morphed", "interpolation"]


class Morphed(NamedTuple):
    """Templates at a position, and their derivatives along the shapes.

    Attributes:
        value: templates.
        slope: along each shape.
        cross: mixed second derivatives, of the pairs of shapes that have one.
    """

    value: Float[Array, "*front bin"]
    slope: Float[Array, "shape *front bin"]
    cross: dict[tuple[int, int], Float[Array, "*front bin"]]


def interpolation(
    groups: tuple[Group, ...], anchors: tuple[Array, ...], position: Float[Array, " shape"], cell: Array
) -> Callable[[Callable[[Any], Array]], Morphed]:
    """Multilinear interpolation in one cell; changes of several groups add up.

    Groups of as many shapes are done all at once: one gather and a few products to compile, however many there are.

    Args:
        groups: of shapes whose templates are known at every combination of anchors.
        anchors: of each shape.
        position: along each shape.
        cell: index of the lower anchor of each shape.

    Returns:
        A function to templates, of what gives them at a list of rows, first axis.
    """
    if not groups:
        return lambda take: Morphed((only := take(np.zeros(1, int)))[0], only[:0], {})
    low = jnp.stack([a[cell[i]] for i, a in enumerate(anchors)])
    width = jnp.stack([a[cell[i] + 1] for i, a in enumerate(anchors)]) - low
    fraction = (position - low) / width
    ends = np.cumsum([0, *(len(group.sizes) for group in groups)])
    first = np.cumsum([0, *(group.rows for group in groups)])
    kinds, rows = [], []
    for size in sorted({len(group.sizes) for group in groups}):
        mine = [g for g, group in enumerate(groups) if len(group.sizes) == size]
        shapes = ends[mine][:, None] + np.arange(size)  # (group, axis)
        strides = np.array([np.append(np.cumprod(groups[g].sizes[:0:-1])[::-1], 1) for g in mine])
        upper = np.array(list(itertools.product((0, 1), repeat=size)))  # (corner, axis)
        corner = cell[shapes][:, None] + upper.astype(cell.dtype)
        start = first[mine][:, None].astype(cell.dtype)
        rows.append(
            (start + jnp.sum(corner * strides[:, None].astype(cell.dtype), axis=-1, dtype=cell.dtype)).ravel()
        )
        kinds.append((shapes, fraction[shapes], width[shapes]))
    rows.append(jnp.full(1, groups[0].nominal, cell.dtype))
    sizes = [len(part) for part in rows]

    def interpolated(take: Callable[[Any], Array]) -> Morphed:
        found = jnp.split(take(jnp.concatenate(rows)), np.cumsum(sizes)[:-1])
        value = -(len(groups) - 1) * found[-1][0]
        slopes: list[Array] = []
        order: list[int] = []
        cross: dict[tuple[int, int], Array] = {}
        for (shapes, at, across), corners in zip(kinds, found[:-1], strict=True):
            count, size = shapes.shape
            blended = _blended(corners.reshape(count, *[2] * size, *corners.shape[1:]), at, across)
            value = value + jnp.sum(blended[()], axis=0)
            for key, change in blended.items():
                if len(key) == 1:
                    slopes.append(change)
                    order += shapes[:, key[0]].tolist()
                elif key:
                    cross |= dict(zip(map(tuple, shapes[:, key].tolist()), change, strict=True))
        return Morphed(value, jnp.concatenate(slopes)[np.argsort(order)], cross)

    return interpolated


def _blended(
    corners: Float[Array, "group *corner_bin"],
    fraction: Float[Array, "group axis"],
    width: Float[Array, "group axis"],
) -> dict[tuple[int, ...], Array]:
    """Values from corners of shape (group, 2, ..., 2, ..., bin), first and mixed second derivatives by their axes."""
    terms = {(): corners}
    for axis in range(fraction.shape[1]):
        new = {}
        for key, block in terms.items():
            low, change = block[:, 0], block[:, 1] - block[:, 0]
            along = (-1,) + (1,) * (low.ndim - 1)
            new[key] = low + change * fraction[:, axis].reshape(along)
            if len(key) < 2:
                new[*key, axis] = change / width[:, axis].reshape(along)
        terms = new
    return terms
