"""Newton steps with bounds and kinks, on functions whose minimum is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns.fit.bounded import Minimum, minimise_bounded
from jcevns.likelihood.model import Derivatives

ANCHORS = (-2.0, -1.0, 0.0, 1.0, 2.0)
FLAT, VEE, BENT = (0.0, 0.0, 0.0, 0.0), (-3.0, -3.0, 3.0, 3.0), (-0.1, 0.0, 0.1, 0.2)
FLOOR, CEILING = 0.0, 3.0  # limits of the normalisation
GOAL = 1e-9


def knots(slopes: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros(1), jnp.cumsum(slopes * jnp.diff(jnp.array(ANCHORS)))])


def piecewise(slopes, middle, target, coupling=0.0, seen=None):
    """(a - target)^2 + sum of (t - middle)^2 / 2 + coupling a t + broken line(t), as derivatives of one piece."""
    slopes, middle = jnp.asarray(slopes).reshape(-1, len(ANCHORS) - 1), jnp.asarray(middle)
    heights = jax.vmap(knots)(slopes)
    every = jnp.arange(len(slopes))

    def value(x, cell):
        a, t = x[0], x[1:]
        line = heights[every, cell] + slopes[every, cell] * (t - jnp.array(ANCHORS)[cell])
        return (a - target) ** 2 + jnp.sum((t - middle) ** 2 / 2 + coupling * a * t + line)

    def derivatives(x, cell):
        if seen is not None:
            jax.debug.callback(lambda *at: seen.append(at), x, cell)
        return Derivatives(value(x, cell), jax.grad(value)(x, cell), jax.hessian(value)(x, cell))

    return derivatives


def search(derivatives, starts, logarithmic=False) -> Minimum:
    """From starts (a, t...), in the bounds of the anchors."""
    starts = jnp.asarray(starts)
    axes = starts.shape[1] - 1
    anchors = jnp.array(ANCHORS)
    cells = jnp.clip(jnp.searchsorted(anchors, starts[:, 1:], side="right") - 1, 0, len(ANCHORS) - 2)
    low, high = ([limit, *[end] * axes] for limit, end in ((FLOOR, ANCHORS[0]), (CEILING, ANCHORS[-1])))
    return minimise_bounded(
        derivatives,
        starts,
        cells,
        (jnp.array(low), jnp.array(high)),
        (anchors,) * axes,
        jnp.array([logarithmic] + [False] * axes),
        GOAL,
        80,
    )


CASES = {
    # broken lines, middles, target, coupling; start; where the minimum is, and which parameters are free there
    "smooth": ([FLAT], [0.3], 1.2, 0.0, [0.5, 0.6], [1.2, 0.3], [True, True]),
    "kink": ([VEE], [0.5], 1.2, 0.0, [0.5, 0.6], [1.2, 0.0], [True, False]),
    "kink from afar": ([VEE], [0.5], 1.2, 0.0, [0.5, -2.0], [1.2, 0.0], [True, False]),
    "kink from itself": ([VEE], [0.5], 1.2, 0.0, [0.5, 0.0], [1.2, 0.0], [True, False]),
    "kink, coupled": ([(-3.0, -3.0, -3.0, 3.0)], [0.5], 1.2, 0.4, [0.5, -1.5], [1.0, 1.0], [True, False]),
    "through three kinks": ([BENT], [1.7], 1.2, 0.0, [0.5, -1.9], [1.2, 1.5], [True, True]),
    "down through three kinks": ([BENT], [-1.7], 1.2, 0.0, [0.5, 1.9], [1.2, -1.6], [True, True]),
    "upper end": ([BENT], [5.0], 1.2, 0.0, [0.5, -1.9], [1.2, 2.0], [True, False]),
    "lower end": ([BENT], [-5.0], 1.2, 0.0, [0.5, 1.9], [1.2, -2.0], [True, False]),
    "floor": ([FLAT], [0.3], -1.0, 0.0, [2.0, 0.6], [0.0, 0.3], [False, True]),
    "ceiling and kink": ([VEE], [0.5], 9.0, 0.0, [2.0, -1.6], [3.0, 0.0], [False, False]),
    "corner": ([VEE, VEE], [0.5, -0.4], 1.2, 0.3, [0.5, 1.6, -1.7], [1.2, 0.0, 0.0], [True, False, False]),
    "corner of kink and end": (
        [VEE, FLAT],
        [0.5, 9.0],
        1.2,
        0.0,
        [0.5, 1.6, -1.7],
        [1.2, 0, 2],
        [True, False, False],
    ),
    "one of two at a kink": (
        [FLAT, VEE],
        [0.7, 0.5],
        1.2,
        0.0,
        [0.5, -1.6, -1.7],
        [1.2, 0.7, 0],
        [True, True, False],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_known_minimum(case) -> None:
    slopes, middle, target, coupling, start, place, free = case
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    found = search(piecewise(slopes, middle, target, coupling, seen), [start])
    jax.effects_barrier()
    np.testing.assert_allclose(found.x, place, rtol=0, atol=1e-9)
    assert 0 <= float(found.edm) < 1e-8
    assert np.asarray(found.free).tolist() == free
    assert int(found.steps) < 40
    # No look outside the bounds or outside the cell whose piece is asked for.
    assert len(seen) > 1
    for x, cell in seen:
        assert FLOOR <= x[0] <= CEILING
        assert np.all((x[1:] >= np.array(ANCHORS)[cell]) & (x[1:] <= np.array(ANCHORS)[cell + 1]))


def test_many_convex_functions_at_once() -> None:
    """Two axes, slopes that increase: the minimum is unique, and separates into axes."""
    rng = np.random.default_rng(11)
    count = 400
    slopes = np.sort(rng.normal(0, 1.0, (count, 2, len(ANCHORS) - 1)), axis=-1)
    middle, target = rng.normal(0, 1.5, (count, 2)), rng.normal(1.0, 1.5, count)
    starts = np.column_stack([rng.uniform(FLOOR, CEILING, count), rng.uniform(-2, 2, (count, 2))])
    fit = jax.jit(jax.vmap(lambda s, m, t, x: search(piecewise(s, m, t), x[None])))
    found = fit(slopes, middle, target, starts)

    ends = np.array(ANCHORS)
    tried = np.clip(middle[..., None] - slopes, ends[:-1], ends[1:])  # best in each cell
    heights = np.concatenate([np.zeros((count, 2, 1)), np.cumsum(slopes * np.diff(ends), axis=-1)], axis=-1)
    value = (tried - middle[..., None]) ** 2 / 2 + heights[..., :-1] + slopes * (tried - ends[:-1])
    best = np.take_along_axis(tried, np.argmin(value, axis=-1)[..., None], axis=-1)[..., 0]
    expected = np.column_stack([np.clip(target, FLOOR, CEILING), best])

    at_kink = np.isin(best, ends[1:-1]).sum(axis=1)
    assert np.all(np.bincount(at_kink, minlength=3) > 20)  # none, one, and both
    assert np.all(found.edm < 1e-8)
    np.testing.assert_allclose(found.x, expected, rtol=0, atol=1e-8)
    bounded = (expected <= [FLOOR, -2, -2]) | (expected >= [CEILING, 2, 2])
    bounded[:, 1:] |= np.isin(best, ends)
    np.testing.assert_array_equal(np.asarray(found.free), ~bounded)


def test_without_anchors() -> None:
    found = search(piecewise(np.zeros((0, 4)), np.zeros(0), 1.7), [[0.2]])
    assert float(found.x[0]) == pytest.approx(1.7, abs=1e-9)
    assert found.cell.shape == (0,)
    assert float(found.edm) < 1e-8


def test_concave_far_away() -> None:
    """A log-factor that starts where the curvature is negative."""

    def derivatives(x, cell):
        call = lambda y: (jnp.exp(y[0]) - 5.0) ** 2 + 0.05 * jnp.sum(y[1:] ** 2)  # noqa: E731
        return Derivatives(call(x), jax.grad(call)(x), jax.hessian(call)(x))

    found = search(derivatives, [[0.5, 1.5]], logarithmic=True)
    np.testing.assert_allclose(found.x, [np.log(5), 0.0], rtol=0, atol=1e-5)
    assert float(found.edm) < 1e-8


def test_next_start_where_one_fails() -> None:
    smooth = piecewise([FLAT], [0.3], 1.2)

    def derivatives(x, cell):
        here = smooth(x, cell)
        return jax.tree.map(lambda v: jnp.where(x[0] > 2.5, jnp.nan, v), here)

    lost = search(derivatives, [[2.9, 0.6]])
    assert not np.isfinite(float(lost.edm))
    found = search(derivatives, [[2.9, 0.6], [0.5, 0.6]])
    np.testing.assert_allclose(found.x, [1.2, 0.3], rtol=0, atol=1e-9)
    assert float(found.edm) < 1e-8
    assert int(found.steps) > int(lost.steps) / 2


def test_no_minimum_is_not_valid() -> None:
    """A saddle has no descent that ends: the curvature stays negative."""

    def derivatives(x, cell):
        call = lambda y: -((y[0] - 1.5) ** 2) + jnp.sum(y[1:] ** 2)  # noqa: E731
        return Derivatives(call(x), jax.grad(call)(x), jax.hessian(call)(x))

    found = search(derivatives, [[1.5, 0.5]])
    assert not float(found.edm) < 1e-8
