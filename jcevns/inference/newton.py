"""Batched profile fit for templates times normalisations: the batch axis last, everything else written out.

The same minimum as `jcevns.inference.fit`, found for thousands of signals at once. Derivatives are exact and
closed: in the space of components the Hessian is a Gram matrix plus a diagonal, the nuisances only add its
entries up. The factorisation skips what is zero by structure. XLA fuses element-wise code so eagerly that it
computes shared terms again in every consumer, unless their last operation is one it calls expensive: hence
the divisions by square roots below, where a reciprocal would look cheaper and cost three times as much. Experiments
of many bins are not written out: their sums over bins are matrix products.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float

from jcevns.inference.fit import tolerances
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.poisson import TemplateModel

__all__ = ["BatchFit", "batch_fit"]

_STEPS = 40
_LARGEST_STEP = 2.0  # in log-factors
_WRITTEN_OUT = 16  # bins of an experiment, above which arrays take their place: compilation would take minutes

_Rows = list[Array]  # one array over the batch per nuisance, bin or component


class BatchFit(NamedTuple):
    """Profile fits of a batch, batch axis last.

    Attributes:
        chi2: minimum over the nuisances.
        theta: log-factors at the minimum.
        edm: g H^-1 g / 2 before the last step, an upper bound; infinite where H was not positive definite.
        slope: d chi2/d signal at the minimum (envelope theorem).
        valid: EDM below the limit, chi2 finite.
    """

    chi2: Float[Array, " batch"]
    theta: Float[Array, "nuisance batch"]
    edm: Float[Array, " batch"]
    slope: Float[Array, "bin batch"]
    valid: Bool[Array, " batch"]


def _total(rows: Sequence[Array]) -> Array:
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def _components(layout: Layout, experiment: int) -> list[tuple[tuple[int, ...], int | None]]:
    """Nuisances of every component of one experiment, and its row among the backgrounds; none for the signal."""
    own = [(acting, k) for k, (owner, acting) in enumerate(layout.background) if owner == experiment]
    return [(layout.signal[experiment], None), *own]


def _scales(components: list[tuple[tuple[int, ...], int | None]], factor: _Rows, one: Array) -> _Rows:
    """Normalisation of every component."""
    scales = []
    for acting, _ in components:
        scale = one
        for j in acting:
            scale = scale * factor[j]
        scales.append(scale)
    return scales


class _Sums(NamedTuple):
    """What a fit needs of the bins of one experiment, for components with nuisances."""

    strength: dict[int, Array]  # sum of (1 - D/N) x counts of a component
    gram: dict[tuple[int, int], Array]  # sum of D/N^2 x counts of one x counts of another


def _sums(
    layout: Layout, model: TemplateModel, observed: Array, signal: Array, factor: _Rows, experiment: int
) -> _Sums:
    """Sums over the bins: written out for a few, by matrix products for many."""
    first, stop = layout.bins[experiment]
    components = _components(layout, experiment)
    moving = [c for c, (acting, _) in enumerate(components) if acting]
    pairs = [(c, d) for c in moving for d in moving if d <= c]
    # One half, but not a constant to the compiler: it would turn the divisions below into products.
    half = 0.5 + 0.0 * model.sigma[0]
    if stop - first > _WRITTEN_OUT:
        many = _Many(layout, model, observed, signal, factor, experiment)
        inverse = 1 / jnp.where(many.expected > 0, many.expected, 1)
        ratio = many.count * inverse
        excess, weight = 1 - ratio, ratio * inverse
        weighted = weight * many.signal
        # Backgrounds are the same for all lanes: their sums over bins are matrix products.
        strengths = [jnp.sum(many.signal * excess, axis=0), *_product(many.still, excess)]
        with_signal = [jnp.sum(many.signal * weighted, axis=0), *_product(many.still, weighted)]
        still = [(c, d) for c, d in pairs if d > 0]
        products = [many.still[c - 1] * many.still[d - 1] for c, d in still]
        among = dict(zip(still, _product(jnp.stack(products), weight), strict=True)) if still else {}
        scale = many.scales
        return _Sums(
            {c: scale[c] * strengths[c] / half for c in moving},
            {(c, d): scale[c] * scale[d] * (among[c, d] if d else with_signal[c]) / half for c, d in pairs},
        )
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


def _product(rows: Float[Array, "row bin"], lanes: Float[Array, "bin batch"]) -> Float[Array, "row batch"]:
    return jnp.matmul(rows, lanes, precision="highest")


class _Many:
    """Bins of one experiment as arrays, bins first."""

    def __init__(
        self, layout: Layout, model: TemplateModel, observed: Array, signal: Array, factor: _Rows, experiment: int
    ):
        first, stop = layout.bins[experiment]
        components = _components(layout, experiment)
        rows = [model.background[k, first:stop] for _, k in components if k is not None]
        self.scales = _scales(components, factor, jnp.ones_like(signal[0]))
        self.count, self.signal = observed[first:stop], signal[first:stop]
        self.still = jnp.stack(rows) if rows else jnp.zeros((0, stop - first), signal.dtype)
        self.expected = self.signal * self.scales[0]
        if rows:
            self.expected = self.expected + _product(self.still.T, jnp.stack(self.scales[1:]))


def _scaled_templates(
    layout: Layout, model: TemplateModel, signal: Array, factor: _Rows, experiment: int
) -> list[_Rows]:
    """Scaled counts per bin of every component of one experiment."""
    first, stop = layout.bins[experiment]
    scaled = []
    for acting, k in _components(layout, experiment):
        rows = [signal[i] if k is None else model.background[k, i] for i in range(first, stop)]
        for j in acting:
            rows = [row * factor[j] for row in rows]
        scaled.append(rows)
    return scaled


def _derivatives(
    layout: Layout, model: TemplateModel, observed: Array, signal: Array, theta: _Rows
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
            acting, others = components[c][0], components[d][0]
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


def _newton(layout: Layout, gradient: _Rows, hessian: dict[tuple[int, int], Array]) -> tuple[_Rows, Array, Array]:
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
    return [step[j] for j in range(size)], decrement, definite


def _chi2(layout: Layout, model: TemplateModel, observed: Array, signal: Array, theta: _Rows) -> tuple[Array, Array]:
    """chi2 and its slope in the signal."""
    factor = [jnp.exp(t) for t in theta]
    value = jnp.zeros_like(signal[0])
    slopes = []
    for j in range(layout.nuisances):
        value = value + ((factor[j] - 1) / model.sigma[j]) ** 2
    for e, (first, stop) in enumerate(layout.bins):
        if stop - first > _WRITTEN_OUT:
            many = _Many(layout, model, observed, signal, factor, e)
            expected, count = many.expected, many.count
            value = value + 2 * jnp.sum(expected - count + xlogy(count, count) - xlogy(count, expected), axis=0)
            slopes.append(2 * (1 - count / jnp.where(expected > 0, expected, 1)) * many.scales[0])
            continue
        parts = _scaled_templates(layout, model, signal, factor, e)
        scale = jnp.ones_like(value)
        for j in layout.signal[e]:
            scale = scale * factor[j]
        for i in range(stop - first):
            expected = _total([rows[i] for rows in parts])
            count = observed[first + i]
            value = value + 2 * (expected - count + xlogy(count, count) - xlogy(count, expected))
            slopes.append((2 * (1 - count / jnp.where(expected > 0, expected, 1)) * scale)[None])
    return value, jnp.concatenate(slopes)


def _starts(layout: Layout, model: TemplateModel, observed: Array, signal: Array) -> list[Array]:
    """Candidate starts (see `jcevns.likelihood.poisson.starts`), shape (nuisance, batch) each."""
    zero = jnp.zeros_like(signal[0])
    shares: dict[int, list[Array]] = {}
    deepest = zero
    for e, (first, stop) in enumerate(layout.bins):
        have, want = jnp.sum(signal[first:stop], axis=0), jnp.sum(observed[first:stop], axis=0)
        down = jnp.minimum(jnp.log((want + 1) / (have + 1)), 0.0)
        deepest = jnp.minimum(deepest, down)
        acting = layout.signal[e]
        if not acting:
            continue
        power = jnp.stack([(1 - down) * jnp.log(model.sigma[j] ** 2) for j in acting])
        share = jax.nn.softmax(power, axis=0)
        for k, j in enumerate(acting):
            shares.setdefault(j, []).append(down * share[k])
    first_start = [_total(shares[j]) / len(shares[j]) if j in shares else zero for j in range(layout.nuisances)]
    shared = max(shares, key=lambda j: len(shares[j])) if shares else -1
    second_start = [deepest if j == shared else zero for j in range(layout.nuisances)]
    return [jnp.stack(s) for s in (first_start, second_start)]


@partial(jax.jit, static_argnums=0)
def batch_fit(
    layout: Layout,
    model: TemplateModel,
    signal: Float[Array, "bin batch"],
    observed: Float[Array, "bin #batch"] | None = None,
) -> BatchFit:
    """Profile fits for a batch of signals.

    Args:
        layout: structure of the likelihood.
        model: its numbers.
        signal: expected signal before nuisances, batch axis last.
        observed: counts per bin if they differ from the model's, one column or one per batch entry.
    """
    counts = model.observed[:, None] if observed is None else observed
    size = layout.nuisances
    if size == 0:
        value, slope = _chi2(layout, model, counts, signal, [])
        zero = jnp.zeros_like(value)
        return BatchFit(value, jnp.zeros((0, value.size), value.dtype), zero, slope, jnp.isfinite(value))
    goal, limit = tolerances(signal.dtype)
    candidates = _starts(layout, model, counts, signal)
    values = [_chi2(layout, model, counts, signal, list(c))[0] for c in candidates]
    theta = jnp.where(values[1] / values[0] < 1, candidates[1], candidates[0])

    def running(state: tuple[Array, Array, tuple[Array, ...]]) -> Array:
        step, edm, _ = state
        # A NaN is not above the goal: a broken lane does not keep the others waiting.
        return (step < _STEPS) & jnp.any(edm > goal)

    def advance(state: tuple[Array, Array, tuple[Array, ...]]) -> tuple[Array, Array, tuple[Array, ...]]:
        count, before, rows = state
        derivatives = _derivatives(layout, model, counts, signal, list(rows))
        direction, decrement, definite = _newton(layout, *derivatives)
        length = jnp.abs(direction[0])
        for d in direction[1:]:
            length = jnp.maximum(length, jnp.abs(d))
        scale = _LARGEST_STEP / jnp.maximum(length, _LARGEST_STEP)
        known = definite | jnp.isnan(decrement)
        # A lane that has arrived stays where it is: its result does not depend on the company it keeps.
        scale = jnp.where(before > goal, scale, 0.0)
        moved = [row + scale * d for row, d in zip(rows, direction, strict=True)]
        edm = jnp.where(before > goal, jnp.where(known, decrement, jnp.inf), before)
        return count + 1, edm, tuple(moved)

    begin = (jnp.asarray(0), jnp.full_like(values[0], jnp.inf), tuple(theta))
    _, edm, rows = jax.lax.while_loop(running, advance, begin)
    value, slope = _chi2(layout, model, counts, signal, list(rows))
    return BatchFit(value, jnp.stack(rows), edm, slope, (edm < limit) & jnp.isfinite(value))
