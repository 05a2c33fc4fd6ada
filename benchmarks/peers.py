"""The fits of other tools, on the same likelihood and points. Each returns seconds per fit and its chi2."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcevns import Likelihood, to_pyhf
from jcevns.fit.validity import tolerances
from jcevns.likelihood import model as models
from jcevns.likelihood.starts import starts

_NO_CELL = jnp.zeros(0, int)  # no shape nuisances


class Timing(NamedTuple):
    """Seconds a fit, chi2 of every point (NaN where the fit failed), fraction valid, seconds of compilation."""

    seconds: float
    chi2: np.ndarray
    valid: float
    compile: float = 0.0


class NumpyChi2:
    """Eq. 17 of arXiv:2411.11749 in the log-factors for one signal, in NumPy, with gradient."""

    def __init__(self, likelihood: Likelihood):
        model = likelihood.model
        self.owner, self.observed = np.asarray(model.owner), np.asarray(model.observed)
        self.templates = np.concatenate([self.owner, np.asarray(model.background)])
        self.loading = np.asarray(model.linear) + np.asarray(model.logarithmic)
        self.sigma = np.asarray(model.sigma)
        seen = self.observed[self.observed > 0]
        self.constant = 2 * (seen @ np.log(seen) - seen.sum())

    def at(self, signal: np.ndarray) -> "NumpyChi2":
        """The same object with another signal."""
        self.templates[: len(self.owner)] = self.owner * signal
        return self

    def __call__(self, theta: np.ndarray) -> float:
        expected = np.exp(self.loading @ theta) @ self.templates
        pull = (np.exp(theta) - 1) / self.sigma
        return 2 * (expected.sum() - self.observed @ np.log(expected)) + self.constant + pull @ pull

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        factor, scale = np.exp(theta), np.exp(self.loading @ theta)
        slope = self.templates @ (1 - self.observed / (scale @ self.templates))
        return 2 * ((slope * scale) @ self.loading + (factor - 1) * factor / self.sigma**2)


def _timed(fit: Callable[[int], tuple[float, bool]], points: int) -> Timing:
    fit(0)
    values, valid = np.empty(points), np.empty(points, bool)
    before = time.perf_counter()
    for i in range(points):
        values[i], valid[i] = fit(i)
    return Timing((time.perf_counter() - before) / points, values, float(valid.mean()))


def _migrad(value: Callable, gradient: Callable | None, size: int, tight: bool) -> tuple[float, bool]:
    import iminuit

    minuit = iminuit.Minuit(value, np.zeros(size), grad=gradient)
    minuit.errordef = 1
    minuit.migrad()
    if tight:
        for tolerance in (1e-4, 1e-7):  # EDM 2e-10 at the end; straight to it, MIGRAD gives up more often
            minuit.tol = tolerance
            minuit.migrad(ncall=20000)
    return float(minuit.fval), minuit.valid


def iminuit_numpy(likelihood: Likelihood, signals: np.ndarray, tight: bool = False, grad: bool = False) -> Timing:
    """MIGRAD on the NumPy likelihood: as people do it, or with gradient and tight tolerance, as the reference."""
    chi2 = NumpyChi2(likelihood)

    def fit(i: int) -> tuple[float, bool]:
        chi2.at(signals[:, i])
        return _migrad(chi2, chi2.gradient if grad else None, chi2.sigma.size, tight)

    return _timed(fit, signals.shape[1])


def iminuit_jax(likelihood: Likelihood, signals: np.ndarray) -> Timing:
    """MIGRAD on the compiled value and gradient of jcevns."""
    value = jax.jit(_chi2_of_logs)
    gradient = jax.jit(jax.grad(_chi2_of_logs, 2))
    model, size = likelihood.model, len(likelihood.nuisances)

    def fit(i: int) -> tuple[float, bool]:
        signal = jnp.asarray(signals[:, i])
        return _migrad(
            lambda theta: float(value(model, signal, theta)),
            lambda theta: np.asarray(gradient(model, signal, theta)),
            size,
            tight=False,
        )

    return _timed(fit, signals.shape[1])


def _parameters(model: models.Model, theta: Any) -> Any:
    """Parameters of the model at log-factors: all peers minimise in these."""
    return jnp.where(model.is_log, theta, jnp.exp(theta))


def _chi2_of_logs(model: models.Model, signal: Any, theta: Any) -> Any:
    return models.chi2(model, signal, _parameters(model, theta), _NO_CELL)


def pyhf_fits(likelihood: Likelihood, theories: Sequence[tuple[str, dict[str, float]]], backend: str) -> Timing:
    """pyhf's fit with its default optimiser, the model built anew for every point; the export is not timed."""
    import warnings

    import pyhf

    before = pyhf.get_backend()
    pyhf.set_backend(backend, precision="64b")
    workspaces = [to_pyhf(likelihood.under(name), at) for name, at in theories]
    observed = np.asarray(likelihood.model.observed)
    seen = observed[observed > 0]
    # What -2 ln L has and chi2 has not: the saturated Poisson term and the normalisation of the Gaussians.
    constant = 2 * sum(math.lgamma(d + 1) for d in observed) - 2 * (seen @ np.log(seen) - seen.sum())
    constant += sum(math.log(2 * math.pi) for _ in likelihood.nuisances)
    constant += sum(
        2 * math.log(sigma)
        for name, sigma in zip(likelihood.nuisances, np.asarray(likelihood.model.sigma), strict=True)
        if name == "flux.b8"
    )

    def fit(i: int) -> tuple[float, bool]:
        workspace = pyhf.Workspace(workspaces[i])
        model = workspace.model()
        try:
            _, value = pyhf.infer.mle.fixed_poi_fit(1.0, workspace.data(model), model, return_fitted_val=True)
        except pyhf.exceptions.FailedMinimization:
            return math.nan, False
        return float(value) - constant, True

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return _timed(fit, len(theories))
    finally:
        pyhf.set_backend(*before)


def _vmapped(likelihood: Likelihood, signals: np.ndarray, minimise: Callable[[Callable, Any], Any]) -> Timing:
    """A generic JAX minimiser, vmapped and compiled: pulls in units of their widths, from the start of jcevns."""
    model = likelihood.model

    def one(signal):
        begin = starts(model, signal)[0]
        start = jnp.where(model.is_log, begin, jnp.log(jnp.maximum(begin, 1e-3))) / model.sigma
        theta = minimise(lambda x: _chi2_of_logs(model, signal, x * model.sigma), start) * model.sigma
        value, gradient, hessian = models.derivatives(model, signal, _parameters(model, theta), _NO_CELL)
        edm = gradient @ jnp.linalg.solve(hessian, gradient) / 2
        return value, (jnp.abs(edm) < tolerances(value.dtype)[1]) & jnp.isfinite(value)

    batch = jnp.asarray(signals.T)
    before = time.perf_counter()
    call = jax.jit(jax.vmap(one)).lower(batch).compile()
    compiled = time.perf_counter() - before
    times = []
    for _ in range(3):
        before = time.perf_counter()
        value, valid = jax.block_until_ready(call(batch))
        times.append(time.perf_counter() - before)
    return Timing(min(times) / len(batch), np.asarray(value), float(valid.mean()), compiled)


def optimistix_bfgs(likelihood: Likelihood, signals: np.ndarray) -> Timing:
    """BFGS of optimistix, at a tolerance at which its results are valid by the EDM criterion of jcevns."""
    import optimistix

    solver = optimistix.BFGS(rtol=1e-7, atol=1e-7)

    def minimise(function, start):
        found = optimistix.minimise(lambda x, _: function(x), solver, start, max_steps=500, throw=False)
        return found.value

    return _vmapped(likelihood, signals, minimise)


def optax_lbfgs(likelihood: Likelihood, signals: np.ndarray) -> Timing:
    """L-BFGS of optax with its default line search."""
    import optax

    solver = optax.lbfgs()

    def minimise(function, start):
        both = optax.value_and_grad_from_state(function)

        def body(carry):
            x, state = carry
            value, gradient = both(x, state=state)
            update, state = solver.update(gradient, state, x, value=value, grad=gradient, value_fn=function)
            return optax.apply_updates(x, update), state

        def running(carry):
            state = carry[1]
            count, gradient = optax.tree.get(state, "count"), optax.tree.get(state, "grad")
            return (count == 0) | ((count < 300) & (jnp.max(jnp.abs(gradient)) > 1e-5))

        return jax.lax.while_loop(running, body, (start, solver.init(start)))[0]

    return _vmapped(likelihood, signals, minimise)
