"""Numbers and structure of a likelihood, laid out for one kind of fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from jcevns.experiments.experiment import SIGNAL, Experiment, Source
from jcevns.likelihood import model as models
from jcevns.likelihood.anchors import groups_of, nominal_row, rows_of, spread
from jcevns.likelihood.layout import Component, Layout, elimination_order
from jcevns.likelihood.model import Model
from jcevns.likelihood.normalisation import Normalisation
from jcevns.precision import as_float_array

__all__ = ["Arrangement", "arrange"]


class Arrangement(NamedTuple):
    """Numbers, structure and nuisances of a likelihood for one kind of fit."""

    model: Model
    layout: Layout
    nuisances: tuple[str, ...]


def _join(arrays: list[Array], join: Callable, traced: Callable) -> Array:
    """Joined arrays; by NumPy where there are values, which needs no compilation."""
    if any(isinstance(a, Tracer) for a in arrays):
        return traced(arrays)
    return as_float_array(join([np.asarray(a) for a in arrays]))


def _pad(counts: Array, before: int, after: int) -> Array:
    widths = (before, after)
    return (
        jnp.pad(counts, widths) if isinstance(counts, Tracer) else as_float_array(np.pad(np.asarray(counts), widths))
    )


def arrange(
    experiments: Sequence[Experiment],
    sources: Sequence[tuple[Source, ...]],
    normalisations: Mapping[str, Normalisation],
    absent: Sequence[str] = (),
    free: Sequence[str] = (),
) -> Arrangement:
    """Numbers, structure and nuisances of experiments.

    Args:
        experiments: those of a likelihood.
        sources: where the signal of each comes from.
        normalisations: factors on their components by full name.
        absent: factors that are no nuisances here: they are one.
        free: factors without their constraint, from 0 up.
    """
    chosen = {
        name: n
        for name, n in normalisations.items()
        if name not in absent and (n.parameter.constrained or name in free)
    }
    ends = np.cumsum([e.observed.size for e in experiments])
    bins = tuple((int(b - e.observed.size), int(b)) for e, b in zip(experiments, ends, strict=True))
    total = int(ends[-1])
    components = [(i, SIGNAL, source, place) for i, names in enumerate(sources) for place, source in enumerate(names)]
    named = [(i, name) for i, one in enumerate(experiments) for name in one.backgrounds]
    backgrounds = [(i, name, None, row) for row, (i, name) in enumerate(named)]
    every = components + backgrounds
    loading = np.array([[n.powers.get((i, c, s), 0.0) for n in chosen.values()] for i, c, s, _ in every])
    loading = loading.reshape(len(every), len(chosen))
    still, moving, moves = [], [], []
    groups = groups_of(experiments)
    row = 0
    for i, (one, (first, stop)) in enumerate(zip(experiments, bins, strict=True)):
        for counts in one.backgrounds.values():
            nominal = counts.reshape(-1, counts.shape[-1])[nominal_row(one)] if counts.ndim > 1 else counts
            still.append(_pad(nominal, first, total - stop))
            if counts.ndim > 1:
                rows = spread(groups, i, np.asarray(counts).reshape(-1, stop - first), np)
                moving.append(np.pad(rows, [(0, 0), (first, total - stop)]))
                moves.append(row)
            row += 1
    owner = np.zeros((len(bins), total))
    for i, (first, stop) in enumerate(bins):
        owner[i, first:stop] = 1.0
    shapes = {f"{e.name}.{s.name}": s for e in experiments for s in e.shapes}
    anchors = tuple(as_float_array(np.array(s.anchors)) for s in shapes.values())
    # A factor is a parameter itself where it multiplies backgrounds of its own alone; else its logarithm is, of one
    # that acts on nothing too.
    alone = np.sum(loading != 0, axis=1) == 1
    background_only = np.all(loading[: len(components)] == 0, axis=0) & np.any(loading != 0, axis=0)
    by_factor = background_only & np.all((loading == 0) | ((loading == 1) & alone[:, None]), axis=0)
    records = [n.parameter for n in chosen.values()]
    low, high = (np.array([getattr(p, end) / p.default for p in records]) for end in ("lower", "upper"))
    plain = not shapes and not free and bool(np.all(low == 0) and np.all(np.isposinf(high)))
    plain = plain and bool(np.all((loading == 0) | (loading == 1)))
    with np.errstate(divide="ignore"):
        low, high = (np.where(by_factor, limit, np.log(limit)) for limit in (low, high))
    limits = np.array([[a[0], a[-1]] for a in anchors]).reshape(-1, 2)
    sigma = np.array([n.sigma for n in chosen.values()])
    numbers = Model(
        observed=_join([e.observed for e in experiments], np.concatenate, jnp.concatenate),
        owner=as_float_array(owner),
        background=_join(still, np.stack, jnp.stack) if still else jnp.zeros((0, total)),
        moving=as_float_array(np.stack(moving) if moving else np.zeros((0, rows_of(groups), total))),
        linear=as_float_array(loading * by_factor),
        logarithmic=as_float_array(loading * ~by_factor),
        sigma=as_float_array(np.concatenate([sigma, [s.sigma for s in shapes.values()]])),
        centre=as_float_array(np.zeros(low.size + len(anchors))),
        lower=as_float_array(np.concatenate([low, limits[:, 0]])),
        upper=as_float_array(np.concatenate([high, limits[:, 1]])),
        anchors=anchors,
        moves=tuple(moves),
        groups=groups,
        signals=tuple((i, place) for i, _, _, place in components),
        loading=tuple(map(tuple, loading.tolist())),
        belongs=tuple(i for i, *_ in every),
        smooth=tuple(j for j, shape in enumerate(shapes.values()) if shape.smooth),
    )
    names = tuple(chosen)
    for name in free:
        numbers = models.freed(numbers, names.index(name))
    acting = [
        Component(i, place, tuple(np.flatnonzero(row).tolist()))
        for (i, _, _, place), row in zip(every, loading, strict=True)
    ]
    signals, others = tuple(acting[: len(components)]), tuple(acting[len(components) :])
    order = elimination_order((*signals, *others), len(names))
    layout = Layout(bins, signals, others, len(names), order, plain)
    return Arrangement(numbers, layout, (*names, *shapes))
