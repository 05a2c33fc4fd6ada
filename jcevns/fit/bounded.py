"""Minimisation of a piecewise smooth function inside bounds: damped Newton steps that know kinks.

A shape nuisance makes chi2 kink at its anchors, and the best fit may sit on one. The function is smooth inside each
cell between anchors. A step never leaves its cell: a coordinate stops at the border. A coordinate that lies on a
border and is drawn outwards is held for the step, and looked at from the other side in the next: if it is drawn on
there, it goes on; if it is drawn back, zero lies between the two slopes, the condition for a minimum. Hence the fit
ends only after two steps in a row, one for each side, whose decrement in the free directions is small. (The slopes
of a multilinear function along different axes do not mix at an anchor, so axis by axis is enough.)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcevns.fit.newton_step import newton_step, restricted
from jcevns.likelihood.model import Derivatives

__all__ = ["Minimum", "borders", "minimise_bounded"]

_LARGEST_LOG_STEP = 3.0
_CONFIRMED = 2


class Minimum(NamedTuple):
    """Where the search ended.

    Attributes:
        x: parameters.
        value: of the function.
        gradient: of its piece in the cell.
        hessian: of its piece in the cell.
        cell: cell of the last look.
        free: which parameters are neither on a bound nor held at a kink.
        edm: g H^-1 g / 2 in the free directions, the larger of the two sides; infinite if H is not positive definite.
        steps: steps spent.
        proven: no lower minimum is to be feared; said by who knows the function.
    """

    x: Float[Array, " nuisance"]
    value: Float[Array, ""]
    gradient: Float[Array, " nuisance"]
    hessian: Float[Array, "nuisance nuisance"]
    cell: Int[Array, " shape"]
    free: Bool[Array, " nuisance"]
    edm: Float[Array, ""]
    steps: Array
    proven: Bool[Array, ""] | bool = True

    def reached(self, limit: float) -> Bool[Array, ""]:
        """Whether it is the minimum: EDM below a limit, value finite, proven."""
        return (self.edm < limit) & jnp.isfinite(self.value) & self.proven


class _State(NamedTuple):
    x: Array
    cell: Array
    here: Derivatives
    damping: Array
    decrement: Array
    before: Array  # decrement of the step before
    confirmed: Array
    step: Array


def _blocked(x: Array, gradient: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Parameters on a border of their cell that are drawn down, or up, across it."""
    return (x <= low) & (gradient > 0), (x >= high) & (gradient < 0)


def borders(anchors: tuple[Array, ...], lower: Array, upper: Array, cell: Array) -> tuple[Array, Array]:
    """Borders of the cell in all parameters, within their bounds: a shape that is held has no room in its cell."""
    normalisations = lower.size - len(anchors)
    low = [a[cell[i]] for i, a in enumerate(anchors)]
    high = [a[cell[i] + 1] for i, a in enumerate(anchors)]
    if not anchors:
        return lower, upper
    return (
        jnp.maximum(jnp.concatenate([lower[:normalisations], jnp.stack(low)]), lower),
        jnp.minimum(jnp.concatenate([upper[:normalisations], jnp.stack(high)]), upper),
    )


def minimise_bounded(
    derivatives: Callable[[Array, Array], Derivatives],
    starts: Float[Array, "start nuisance"],
    cells: Int[Array, "start shape"],
    bounds: tuple[Float[Array, " nuisance"], Float[Array, " nuisance"]],
    anchors: tuple[Float[Array, "_"], ...],
    logarithmic: Bool[Array, " nuisance"],
    goal: float,
    steps: int | Int[Array, ""],
) -> Minimum:
    """Minimise from the first start, from the next where that fails; made for `vmap`.

    Args:
        derivatives: parameters and cell to value, gradient, Hessian of the piece.
        starts: parameters, inside the bounds and their cells.
        cells: index of the lower anchor along each shape nuisance, the last of the parameters.
        bounds: lower and upper limits of the parameters, infinite where there is none.
        anchors: positions of the kinks.
        logarithmic: parameters whose steps are limited: the quadratic model says nothing about a factor 20 away.
        goal: decrement at which the minimum is reached.
        steps: after which the next start is taken, or the search ends.
    """
    noise = 8 * jnp.finfo(starts.dtype).eps
    attempts, size = starts.shape
    one = jnp.ones((), starts.dtype)
    last = jnp.array([a.size - 2 for a in anchors], cells.dtype)
    shapes = len(anchors)

    def as_step(blocked: Array) -> Array:
        return blocked[size - shapes :].astype(cells.dtype)

    def running(state: _State) -> Array:
        return (state.confirmed < _CONFIRMED) & (state.step < attempts * steps)

    def body(state: _State) -> _State:
        low, high = borders(anchors, *bounds, state.cell)
        down, up = _blocked(state.x, state.here.gradient, low, high)
        free = ~(down | up)
        direction, decrement = newton_step(
            jnp.where(free, state.here.gradient, 0.0),
            restricted(state.here.hessian, free),
            state.damping,
        )
        usable = jnp.isfinite(decrement)
        length = jnp.max(jnp.where(logarithmic, jnp.abs(direction), 0.0), initial=0.0)
        scale = jnp.where(usable, jnp.minimum(1.0, _LARGEST_LOG_STEP / jnp.maximum(length, 1e-30)), 0.0)
        x = jnp.clip(state.x + jnp.where(usable, scale * direction, 0.0), low, high)
        across = as_step(up & (high < bounds[1])) - as_step(down & (low > bounds[0]))
        moved = jnp.clip(state.cell + across, 0, last)
        attempt = state.step // steps
        begin = state.step == attempt * steps
        x, moved = jnp.where(begin, starts[attempt], x), jnp.where(begin, cells[attempt], moved)
        there = derivatives(x, moved)
        small = usable & (decrement < goal)
        # Close to the minimum the value no longer changes in its last digits, but the step is still good.
        better = (there.value <= state.here.value + noise * jnp.abs(state.here.value)) | small
        accept = begin | (usable & better & jnp.isfinite(there.value))
        relaxed = jnp.where(state.damping > 1e-3, state.damping / 10, 0.0)
        damping = jnp.where(accept, relaxed, jnp.maximum(state.damping * 10, 1e-2))
        exact = accept & ~begin & (state.damping == 0)
        pick = lambda new, old: jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)  # noqa: E731
        return _State(
            pick(x, state.x),
            pick(moved, state.cell),
            pick(there, state.here),
            jnp.where(begin, 0.0, damping),
            jnp.where(exact, decrement, jnp.inf),
            state.decrement,
            jnp.where(exact & small, state.confirmed + 1, 0),
            state.step + 1,
        )

    zero = jnp.asarray(0)
    # The function is first looked at in the loop, so that it is compiled once.
    nowhere = Derivatives(jnp.inf * one, jnp.zeros(size, one.dtype), jnp.eye(size, dtype=one.dtype))
    first = _State(starts[0], cells[0], nowhere, 0 * one, jnp.inf * one, jnp.inf * one, zero, zero)
    final = jax.lax.while_loop(running, body, first)
    low, high = borders(anchors, *bounds, final.cell)
    down, up = _blocked(final.x, final.here.gradient, low, high)
    # Held at a kink: on the border of the cell looked at last, or of the one before.
    held = (down | up) | ((jnp.arange(size) >= size - shapes) & ((final.x <= low) | (final.x >= high)))
    edm = jnp.where(final.confirmed >= _CONFIRMED, jnp.maximum(final.decrement, final.before), jnp.inf)
    return Minimum(final.x, *final.here, final.cell, ~held, edm, final.step)
