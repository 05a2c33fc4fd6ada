"""Roots of many functions at once, each inside its own bracket."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["find_roots"]

_ROUNDS = 60


def find_roots(
    function: Callable[[Float[np.ndarray, " root"]], Float[np.ndarray, " root"]],
    low: Float[np.ndarray, " root"],
    high: Float[np.ndarray, " root"],
    at_low: Float[np.ndarray, " root"],
    at_high: Float[np.ndarray, " root"],
    relative: float = 1e-10,
) -> Float[np.ndarray, " root"]:
    """Bracketed roots by Chandrupatla's method (Adv. Eng. Software 28 (1997) 145), all in step.

    Inverse quadratic interpolation where it is safe, bisection elsewhere. `function` is called with all
    positions in every round, so that a compiled batch keeps its shape; SciPy's own version drops what has
    converged, and importing it takes longer than most fits.

    Args:
        function: positions to values, element by element.
        low: one end of each bracket.
        high: the other end.
        at_low: values there, of opposite sign to
        at_high: these.
        relative: tolerance relative to the position.

    Returns:
        Roots; NaN where the signs do not differ.
    """
    a, b, fa, fb = (np.array(x, float) for x in (high, low, at_high, at_low))
    c, fc = a.copy(), fa.copy()
    bracketed = np.sign(fa) * np.sign(fb) <= 0
    best = np.where(np.abs(fa) < np.abs(fb), a, b)
    fraction = np.full_like(a, 0.5)
    for _ in range(_ROUNDS):
        position = a + fraction * (b - a)
        value = function(position)
        same = np.sign(value) == np.sign(fa)
        # The new point replaces the end of its own sign; the old one is kept for the interpolation.
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = position, value
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        width = np.abs(b - a)
        tolerance = relative * np.abs(best) + np.finfo(float).tiny
        if np.all((width <= 2 * tolerance) | (np.minimum(np.abs(fa), np.abs(fb)) == 0) | ~bracketed):
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            curved = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            edge = np.minimum(0.5, tolerance / np.maximum(width, np.finfo(float).tiny))
            fraction = np.clip(np.where(safe & np.isfinite(curved), curved, 0.5), edge, 1 - edge)
    return np.where(bracketed, best, np.nan)
