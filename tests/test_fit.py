"""Profile fit against iminuit, its derivatives, its verdict."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import Likelihood, Nuisance, StandardModel, Theory, profile, signal
from jcevns.inference.fit import profile_signal
from tests import reference
from tests.problems import BOTH, PROBLEMS, counting, fitted, signals


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_minimum_is_that_of_iminuit(problem) -> None:
    fit = fitted(problem)
    chi2 = reference.Chi2(problem.experiments, signals(problem), problem.flux_pull)
    value, theta = reference.minimum(chi2)
    assert tuple(chi2.labels) == problem.likelihood.nuisances
    assert abs(float(fit.chi2) - value) < 1e-6
    np.testing.assert_allclose(fit.pulls, np.expm1(theta), rtol=0, atol=1e-4)
    np.testing.assert_allclose(fit.expected, chi2.expected(theta), rtol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_fit_is_valid_and_stationary(problem) -> None:
    fit = fitted(problem)
    assert bool(fit.valid)
    assert 0 <= float(fit.edm) < 1e-8
    assert int(fit.steps) > 0
    assert np.all(np.asarray(fit.pulls) > -1)
    # The independent gradient vanishes in units of the widths.
    chi2 = reference.Chi2(problem.experiments, signals(problem), problem.flux_pull)
    gradient = chi2.gradient(np.log1p(np.asarray(fit.pulls)))
    assert np.max(np.abs(gradient) * np.minimum(chi2.sigma, 1), initial=0) < 1e-4


def test_profile_of_a_theory_is_the_profile_of_its_signal() -> None:
    problem = PROBLEMS[0]
    found, expected = profile(problem.likelihood, problem.theory()), fitted(problem)
    np.testing.assert_allclose(found.chi2, expected.chi2, rtol=1e-12)
    np.testing.assert_allclose(found.pulls, expected.pulls, rtol=0, atol=1e-10)


def test_independent_gradient_is_the_slope_of_the_independent_chi2() -> None:
    problem = next(p for p in PROBLEMS if p.name == "heavy-pulls-joint")
    chi2 = reference.Chi2(problem.experiments, signals(problem))
    theta = np.linspace(-0.4, 0.5, chi2.size)
    numeric = [reference.slope(lambda x, e=e: chi2(theta + x * e), 0.0, 1e-3) for e in np.eye(chi2.size)]
    np.testing.assert_allclose(chi2.gradient(theta), numeric, rtol=1e-8, atol=1e-8)


# Derivatives of the profile -----------------------------------------------------------------------------------

POINTS = np.array([[0.1, 5.46], [0.3, 0.5], [0.9, 5.0], [0.23857, 30.0]])  # sin2w, flux in 1e6
STEPS = np.array([1e-3, 1e-2])


def test_derivatives_of_profile_and_pulls(likelihoods) -> None:
    likelihood = likelihoods["pandax"]

    def fit(point):
        theory = Theory(StandardModel(sin2w=point[0]), point[1] * 1e6)
        found = profile_signal(likelihood.model, signal(likelihood, theory))
        return found.chi2, found.pulls

    def chi2(point):
        return fit(point)[0]

    evaluate = jax.jit(
        jax.vmap(lambda x: (*fit(x), jax.grad(chi2)(x), jax.jacfwd(lambda y: fit(y)[1])(x), jax.hessian(chi2)(x)))
    )
    moves = np.array([np.eye(2)[axis] * STEPS[axis] * k for axis in (0, 1) for k in (-2, -1, 0, 1, 2)])
    places = (POINTS[:, None] + moves).reshape(-1, 2)
    value, pulls, gradient, pull_slope, hessian = (
        np.asarray(v).reshape(len(POINTS), 2, 5, *v.shape[1:]) for v in evaluate(jnp.asarray(places))
    )
    for axis, step in enumerate(STEPS):
        weights = np.array([1, -8, 0, 8, -1]) / (12 * step)

        def difference(f, axis=axis, weights=weights):
            return np.einsum("k,pk...->p...", weights, f[:, axis])

        close = {"rtol": 1e-6, "atol": 1e-7}
        np.testing.assert_allclose(gradient[:, axis, 2, axis], difference(value), **close)
        np.testing.assert_allclose(pull_slope[:, axis, 2, :, axis], difference(pulls), **close)
        np.testing.assert_allclose(hessian[:, axis, 2, axis], difference(gradient), **close)


def test_slope_in_the_signal_is_the_gradient(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    counts = signal(likelihood, Theory(b8_flux=2e7))
    gradient, fit = jax.jit(
        jax.grad(lambda s: (lambda f: (f.chi2, f))(profile_signal(likelihood.model, s)), has_aux=True)
    )(counts)
    np.testing.assert_allclose(fit.slope, gradient, rtol=1e-10, atol=1e-12)


# Batches, failures, sizes -------------------------------------------------------------------------------------

_profiles = jax.jit(jax.vmap(profile_signal, in_axes=(None, 0)))
BATCH = 32


def batch(likelihood: Likelihood, counts):
    """Fits of up to BATCH signals; always the same shape, so that it is compiled once."""
    counts = jnp.asarray(counts)
    fit = _profiles(likelihood.model, jnp.pad(counts, ((0, BATCH - len(counts)), (0, 0)), constant_values=1.0))
    return jax.tree.map(lambda x: np.asarray(x)[: len(counts)], fit)


def test_batch_equals_loop(likelihoods) -> None:
    chosen = [p for p in PROBLEMS if p.data == BOTH and p.flux_pull]
    assert len(chosen) > 5
    together = batch(likelihoods["combined"], [np.concatenate(signals(p)) for p in chosen])
    for i, problem in enumerate(chosen):
        alone = fitted(problem)
        np.testing.assert_allclose(together.chi2[i], alone.chi2, rtol=1e-10)
        np.testing.assert_allclose(together.pulls[i], alone.pulls, rtol=0, atol=1e-10)
    assert together.valid.all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_point_is_invalid_and_leaves_its_neighbours_alone(likelihoods, broken) -> None:
    likelihood = likelihoods["combined"]
    good = signal(likelihood, Theory())
    fit = batch(likelihood, jnp.stack([good, good.at[2].set(broken), 2 * good]))
    assert fit.valid.tolist() == [True, False, True]
    assert not np.isfinite(fit.edm[1])
    alone = batch(likelihood, jnp.stack([good, good, 2 * good]))
    np.testing.assert_allclose(fit.chi2[[0, 2]], alone.chi2[[0, 2]], rtol=1e-12)


def test_seven_decades_of_flux_are_valid_and_never_fall_far_above_the_best_fit(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    fluxes = np.geomspace(1e2, 1e9, BATCH)
    fit = batch(likelihood, fluxes[:, None] * np.asarray(signal(likelihood, Theory(b8_flux=1.0))))
    assert fit.valid.all()
    assert np.all(np.diff(fit.chi2[fluxes > 1e7]) > 0)


def test_without_nuisances_chi2_is_the_plain_sum() -> None:
    bare = counting("bare", [3, 0, 6], [2.0, 1.0, 3.0], {"flat": [1.0, 1.0, 2.0]}, ())
    likelihood = Likelihood(bare)
    fit = profile(likelihood, Theory())
    assert fit.pulls.shape == (0,)
    assert bool(fit.valid)
    N = np.asarray(signal(likelihood, Theory())) + np.array([1.0, 1.0, 2.0])
    plain = 2 * (N.sum() - 9) + 2 * (3 * np.log(3 / N[0]) + 6 * np.log(6 / N[2]))
    np.testing.assert_allclose(fit.chi2, plain, rtol=1e-13)


def _split(parts: int) -> Likelihood:
    """One background of width 30%, or `parts` equal shares of it, each on a nuisance of its own."""
    nuisances = tuple(Nuisance(f"n{i}", 0.3 * np.sqrt(parts), (f"b{i}",)) for i in range(parts))
    backgrounds = {f"b{i}": np.array([4.0, 8.0, 6.0]) / parts for i in range(parts)}
    return Likelihood(counting("split", [7, 11, 9], [1.0, 1.5, 0.5], backgrounds, nuisances))


def test_many_nuisances_equal_the_one_they_add_up_to() -> None:
    # n equal pulls a_i = a with sigma_i = sigma sqrt(n): sum (a_i/sigma_i)^2 = (a/sigma)^2.
    one, twenty = profile(_split(1), Theory()), profile(_split(20), Theory())
    assert twenty.pulls.shape == (20,)
    assert bool(twenty.valid)
    np.testing.assert_allclose(twenty.chi2, one.chi2, rtol=1e-10)
    np.testing.assert_allclose(twenty.pulls, np.full(20, one.pulls[0]), rtol=1e-7)


def test_spectator_nuisances_change_nothing() -> None:
    problem = next(p for p in PROBLEMS if p.name == "sm-pandax")
    model, small, extra = problem.likelihood.model, fitted(problem), 15

    def widen(loading):
        return jnp.pad(loading, ((0, 0), (0, extra)))

    wide = eqx.tree_at(
        lambda m: (m.signal_loading, m.background_loading, m.sigma),
        model,
        (
            widen(model.signal_loading),
            widen(model.background_loading),
            jnp.pad(model.sigma, (0, extra), constant_values=0.5),
        ),
    )
    large = jax.jit(profile_signal)(wide, jnp.asarray(signals(problem)[0]))
    assert len(large.pulls) > 16
    np.testing.assert_allclose(large.chi2, small.chi2, rtol=1e-12)
    np.testing.assert_allclose(large.pulls, np.pad(small.pulls, (0, extra)), rtol=0, atol=1e-10)
