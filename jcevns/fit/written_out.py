"""The Newton step of the batched fit written out, one array over the batch for each nuisance, bin and component.

For few bins and many points. The factorisation skips what is zero by structure. XLA fuses element-wise code so
eagerly that it computes shared terms again in every consumer, unless their last operation is one it calls expensive:
hence the divisions by square roots below, where a reciprocal would look cheaper and cost three times as much.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcevns.likelihood.layout import Component, Layout
from jcevns.likelihood.model import Model

__all__ = ["derivatives", "newton"]

_Rows = list[Array]  # one array over the batch per nuisance, bin or component


def _total(rows: Sequence[Array]) -> Array:
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def _components(layout: Layout, experiment: int) -> list[Component]:
    """Components of one experiment, signals first."""
    return [*layout.signals_of(experiment), *layout.backgrounds_of(experiment)]


def _signal_rows(layout: Layout, model: Model, signal: Array, experiment: int) -> list[Array]:
    """Bins of each signal of one experiment, shape (bin, batch); sources follow each other."""
    first, stop = layout.bins[experiment]
    bins = model.observed.size
    return [signal[c.place * bins + first : c.place * bins + stop] for c in layout.signals_of(experiment)]


class _Sums(NamedTuple):
    """What a fit needs of the bins of one experiment, for components with nuisances."""

    strength: dict[int, Array]  # sum of (1 - D/N) x counts of a component
    gram: dict[tuple[int, int], Array]  # sum of D/N^2 x counts of one x counts of another


def _sums(layout: Layout, model: Model, observed: Array, signal: Array, factor: _Rows, experiment: int) -> _Sums:
    """Sums over the bins: written out for a few, by matrix products for many."""
    first, stop = layout.bins[experiment]
    components = _components(layout, experiment)
    moving = [c for c, component in enumerate(components) if component.acting]
    # One half, but not a constant to the compiler: it would turn the divisions below into products.
    half = 0.5 + 0.0 * model.sigma[0]
    bins = range(stop - first)
    parts = _scaled_templates(layout, model, signal, factor, experiment)
    # A bin in which nothing is expected is harmless if nothing was seen there; else chi2 says infinite.
    totals = [_total([rows[i] for rows in parts]) for i in bins]
    inverse = [1 / jnp.where(n > 0, n, 1) for n in totals]
    ratio = [observed[first + i] * inverse[i] for i in bins]
    excess = [1 - r for r in ratio]
    weight = [r * v for r, v in zip(ratio, inverse, strict=True)]
    strength = {c: _total([excess[i] * parts[c][i] for i in bins]) / half for c in moving}
    gram = {}
    for c in moving:
        weighted = [weight[i] * parts[c][i] for i in bins]
        for d in moving:
            if d <= c:
                gram[c, d] = _total([weighted[i] * parts[d][i] for i in bins]) / half
    return _Sums(strength, gram)


def _scaled_templates(layout: Layout, model: Model, signal: Array, factor: _Rows, experiment: int) -> list[_Rows]:
    """Scaled counts per bin of every component of one experiment."""
    first, stop = layout.bins[experiment]
    templates = [list(rows) for rows in _signal_rows(layout, model, signal, experiment)]
    for component in layout.backgrounds_of(experiment):
        templates.append([model.background[component.place, i] for i in range(first, stop)])
    scaled = []
    for component, rows in zip(_components(layout, experiment), templates, strict=True):
        for j in component.acting:
            rows = [row * factor[j] for row in rows]
        scaled.append(rows)
    return scaled


def derivatives(
    layout: Layout, model: Model, observed: Array, signal: Array, theta: _Rows
) -> tuple[_Rows, dict[tuple[int, int], Array]]:
    """Gradient, and lower triangle of the Hessian where it is not zero by structure."""
    factor = [jnp.exp(t) for t in theta]
    gradient: dict[int, Array] = {}
    hessian: dict[tuple[int, int], Array] = {}

    def add(store: dict, key: object, value: Array) -> None:
        store[key] = store[key] + value if key in store else value

    for e in range(len(layout.bins)):
        sums = _sums(layout, model, observed, signal, factor, e)
        components = _components(layout, e)
        for (c, d), gram in sums.gram.items():
            acting, others = components[c].acting, components[d].acting
            if d == c:
                for j in acting:
                    add(gradient, j, sums.strength[c])
            entry = gram + sums.strength[c] if d == c else gram
            for j in acting:
                for k in others:
                    if d == c and k > j:
                        continue  # the transposed entry of the same component
                    both = entry if d == c or j != k else 2 * entry
                    add(hessian, (max(j, k), min(j, k)), both)
    for j in range(layout.nuisances):
        weight_j = 2 / model.sigma[j] ** 2
        add(gradient, j, weight_j * factor[j] * (factor[j] - 1))
        add(hessian, (j, j), weight_j * factor[j] * (2 * factor[j] - 1))
    return [gradient[j] for j in range(layout.nuisances)], hessian


def newton(
    layout: Layout, gradient: Sequence[Array], hessian: dict[tuple[int, int], Array]
) -> tuple[Float[Array, "nuisance batch"], Float[Array, " batch"], Bool[Array, " batch"]]:
    """Step, decrement g H^-1 g / 2, and whether H is positive definite.

    A pivot that is not clearly positive is replaced by the size of its diagonal, so that the step goes down
    whatever the curvature.
    """
    order, size = layout.order, layout.nuisances
    lower: dict[tuple[int, int], Array] = {}
    root: _Rows = []
    white: _Rows = []
    for p, i in enumerate(order):
        diagonal = hessian[i, i]
        pivot = diagonal
        row: dict[int, Array] = {}
        for q, j in enumerate(order[:p]):
            terms = [-row[k] * lower[q, k] for k in range(q) if k in row and (q, k) in lower]
            key = (max(i, j), min(i, j))
            if key in hessian:
                terms.append(hessian[key])
            if terms:
                row[q] = _total(terms) / root[q]
                pivot = pivot - row[q] ** 2
        tiny = jnp.finfo(pivot.dtype).tiny ** 0.5
        signed = jnp.where(pivot > 1e-6 * jnp.abs(diagonal), pivot, -jnp.abs(diagonal) - tiny)
        # Negative where the pivot was replaced: a square root with the news of it.
        root.append(signed / jnp.sqrt(jnp.abs(signed)))
        white.append(_total([gradient[i], *(-row[q] * white[q] for q in row)]) / root[p])
        lower.update({(p, q): entry for q, entry in row.items()})
    decrement = _total([w * w for w in white]) / 2
    definite = root[0] > 0
    for r in root[1:]:
        definite = definite & (r > 0)
    solution: dict[int, Array] = {}
    for p in reversed(range(size)):
        rest = _total([white[p], *(-lower[q, p] * solution[q] for q in solution if (q, p) in lower)])
        solution[p] = rest / root[p]
    step: dict[int, Array] = {order[p]: -solution[p] for p in range(size)}
    return jnp.stack([step[j] for j in range(size)]), decrement, definite
