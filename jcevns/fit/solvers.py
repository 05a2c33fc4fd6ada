"""Minimisers of others: any optax transformation or optimistix minimiser on the profiled chi2.

The parameters are scaled to their natural sizes and kept inside their bounds. Where a minimiser ends is judged by the
same EDM and Hessian as our own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jcevns.fit.surface import Surface
from jcevns.spelling import unknown

__all__ = ["solver"]

_NAMES = {
    "lbfgs": "optax",
    "adam": "optax",
    "bfgs": "optimistix",
    "gradient-descent": "optimistix",
}
_STEPS = {"lbfgs": 200, "adam": 2000}


def solver(given: Any) -> Callable[[Surface, np.ndarray], np.ndarray]:
    """A function from a surface and starts to where a minimiser ends.

    Args:
        given: a name, an `optax.GradientTransformation`, or an `optimistix` minimiser.

    Raises:
        ValueError: unknown name, or nothing that minimises.
        ImportError: optax or optimistix is missing.
    """
    if isinstance(given, str):
        if given not in _NAMES:
            raise ValueError(unknown("minimiser", given, ("newton", *_NAMES)))
        package, steps = _require(_NAMES[given]), _STEPS.get(given, 200)
        if given == "lbfgs":
            return lambda surface, starts: _optax(package.lbfgs(), surface, starts, steps)
        if given == "adam":
            return lambda surface, starts: _optax(package.adam(0.05), surface, starts, steps)
        chosen = package.BFGS(1e-10, 1e-10) if given == "bfgs" else package.GradientDescent(0.05, 1e-10, 1e-10)
        return lambda surface, starts: _optimistix(chosen, surface, starts)
    if hasattr(given, "update") and hasattr(given, "init") and not hasattr(given, "terminate"):
        return lambda surface, starts: _optax(given, surface, starts, 1000)
    if hasattr(given, "terminate"):
        return lambda surface, starts: _optimistix(given, surface, starts)
    raise ValueError(
        f"minimiser {given!r} is neither a name, an optax transformation nor an optimistix minimiser: "
        f"choose from newton, {', '.join(_NAMES)}"
    )


def _require(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"this minimiser needs {name}: pip install 'jcevns[optim]'") from None


def _problem(surface: Surface, starts: np.ndarray) -> tuple[Callable[[Any], Any], np.ndarray, Callable[[Any], Any]]:
    """chi2 of scaled coordinates, the best start in them, and the way back."""
    import jax
    import jax.numpy as jnp

    found = surface.evaluate(starts, 2)
    best = int(np.argmin(np.where(found.valid, found.chi2, np.inf)))
    low, high = (np.array([getattr(r, end) for r in surface.records]) for end in ("lower", "upper"))
    curvature = np.abs(np.diagonal(found.hessian[best]))
    size = np.where(np.isfinite(curvature) & (curvature > 0), np.sqrt(2 / np.maximum(curvature, 1e-300)), 1.0)
    origin = starts[best]

    def back(y: Any) -> Any:
        return jnp.clip(origin + size * y, low, high)

    shape = jax.ShapeDtypeStruct((), jnp.result_type(float))
    wide = jax.ShapeDtypeStruct((len(size),), jnp.result_type(float))

    def host(x: Any) -> tuple[np.ndarray, np.ndarray]:
        one = surface.evaluate(np.asarray(x, float)[None], 1)
        return np.asarray(one.chi2[0]), np.asarray(one.gradient[0])

    @jax.custom_vjp
    def chi2(x: Any) -> Any:
        return jax.pure_callback(host, (shape, wide), x)[0]

    def forward(x: Any) -> tuple[Any, Any]:
        value, gradient = jax.pure_callback(host, (shape, wide), x)
        return value, gradient

    chi2.defvjp(forward, lambda gradient, cotangent: (cotangent * gradient,))
    return lambda y: chi2(back(y)), np.zeros(len(size)), back


def _optax(transformation: Any, surface: Surface, starts: np.ndarray, steps: int) -> np.ndarray:
    import jax

    with jax.numpy_dtype_promotion("standard"):  # optax adds its own integers
        return _descend(transformation, surface, starts, steps)


def _descend(transformation: Any, surface: Surface, starts: np.ndarray, steps: int) -> np.ndarray:
    import jax
    import optax

    function, y, back = _problem(surface, starts)
    value_and_grad = optax.value_and_grad_from_state(function)
    state, lowest = transformation.init(jax.numpy.asarray(y)), (np.inf, y)
    y = jax.numpy.asarray(y)
    quiet = 0

    def both(y: Any, state: Any) -> tuple[Any, Any]:
        try:
            return value_and_grad(y, state=state)
        except ValueError:  # a transformation without a line search keeps no value
            return jax.value_and_grad(function)(y)

    for _ in range(steps):
        value, gradient = both(y, state)
        quiet = quiet + 1 if float(value) > lowest[0] - 1e-12 * (1 + abs(lowest[0])) else 0
        if float(value) < lowest[0]:
            lowest = (float(value), y)
        if quiet > 50 or float(jax.numpy.max(jax.numpy.abs(gradient))) < 1e-7:
            break
        arguments = {"value": value, "grad": gradient, "value_fn": function}
        try:
            update, state = transformation.update(gradient, state, y, **arguments)
        except TypeError:
            update, state = transformation.update(gradient, state, y)
        y = optax.apply_updates(y, update)
    return np.asarray(back(lowest[1]))[None]


def _optimistix(minimiser: Any, surface: Surface, starts: np.ndarray) -> np.ndarray:
    import jax.numpy as jnp

    package = _require("optimistix")
    function, y, back = _problem(surface, starts)
    found = package.minimise(
        lambda y, args: function(y), minimiser, jnp.asarray(y), max_steps=500, throw=False,
        adjoint=package.ImplicitAdjoint(),
    )  # fmt: skip
    return np.asarray(back(found.value))[None]
