"""Profile fit against iminuit, its derivatives, its verdict."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from iminuit import Minuit

from jcevns import Likelihood, Nuisance, profile, signal
from jcevns.fit.batch import profile_signals
from tests import reference
from tests.problems import BOTH, FLUX, PROBLEMS, arrangement, compiled, counting, fitted, profile_signal, signals


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_minimum_is_that_of_iminuit(problem) -> None:
    fit = fitted(problem)
    chi2 = reference.Chi2(problem.experiments, signals(problem), problem.flux)
    value, theta = reference.minimum(chi2)
    assert tuple(chi2.labels) == problem.arrangement.nuisances
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
    chi2 = reference.Chi2(problem.experiments, signals(problem), problem.flux)
    gradient = chi2.gradient(np.log1p(np.asarray(fit.pulls)))
    assert np.max(np.abs(gradient) * np.minimum(chi2.sigma, 1), initial=0) < 1e-4


def test_profile_by_name_is_the_profile_of_its_signal() -> None:
    for name, at in (("sm", {}), ("sin2w-0.3", {"sin2w": 0.3}), ("sm-flux-fixed", {FLUX: 5.46e6})):
        problem = next(p for p in PROBLEMS if p.name == name)
        found, expected = profile(problem.likelihood, at), fitted(problem)
        np.testing.assert_allclose(found.chi2, expected.chi2, rtol=1e-12)
        sigma = np.asarray(problem.arrangement.model.sigma)
        np.testing.assert_allclose(found.pulls * sigma, expected.pulls, rtol=0, atol=1e-10)
        assert found.names == problem.arrangement.nuisances
        for nuisance, pull in zip(found.names, expected.pulls, strict=True):
            default = 5.46e6 if nuisance == FLUX else 1.0
            assert float(found.values[nuisance]) == pytest.approx((1 + float(pull)) * default, rel=1e-9)


def test_a_nuisance_that_is_named_stands_still_without_its_constraint() -> None:
    """Against iminuit with that factor fixed, its penalty taken off."""
    problem = next(p for p in PROBLEMS if p.name == "sm")
    name, factor = "xenonnt-2024-s2.accidental", 1.1
    chi2 = reference.Chi2(problem.experiments, signals(problem))
    place = chi2.labels.index(name)

    def rest(theta):
        return chi2(np.insert(theta, place, np.log(factor))) - (0.1 / 0.048) ** 2

    minuit = Minuit(rest, np.zeros(chi2.size - 1))
    minuit.errordef, minuit.strategy, minuit.tol = 1, 2, 1e-6
    minuit.migrad()
    found = profile(problem.likelihood, {"accidental": factor})
    assert float(found.chi2) == pytest.approx(minuit.fval, abs=1e-6)
    assert float(found.pulls[place]) == pytest.approx(0.1, rel=1e-9)  # a free one is told as factor - 1


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
        counts = signal(likelihood, {"sin2w": point[0]}) * point[1] / 5.46  # the constraint of the flux moves along
        found = profile_signal(likelihood.model, counts)
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
    counts = signal(likelihood) * 2e7 / 5.46e6
    gradient = jax.jit(jax.grad(lambda s: profile_signal(likelihood.model, s).chi2))(counts)
    fit = profile_signals(arrangement(BOTH), np.asarray(counts)[:, None])
    np.testing.assert_allclose(fit.slope[:, 0], gradient, rtol=1e-8, atol=1e-10)


# Batches, failures, sizes -------------------------------------------------------------------------------------

_profiles = jax.jit(jax.vmap(profile_signal, in_axes=(None, 0)))
BATCH = 32


def batch(likelihood: Likelihood, counts):
    """Fits of up to BATCH signals; always the same shape, so that it is compiled once."""
    counts = jnp.asarray(counts)
    fit = _profiles(likelihood.model, jnp.pad(counts, ((0, BATCH - len(counts)), (0, 0)), constant_values=1.0))
    return jax.tree.map(lambda x: np.asarray(x)[: len(counts)], fit)


def test_batch_equals_loop(likelihoods) -> None:
    chosen = [p for p in PROBLEMS if p.data == BOTH and p.flux]
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
    good = signal(likelihood)
    fit = batch(likelihood, jnp.stack([good, good.at[2].set(broken), 2 * good]))
    assert fit.valid.tolist() == [True, False, True]
    assert not np.isfinite(fit.edm[1])
    alone = batch(likelihood, jnp.stack([good, good, 2 * good]))
    np.testing.assert_allclose(fit.chi2[[0, 2]], alone.chi2[[0, 2]], rtol=1e-12)


def test_seven_decades_of_flux_are_valid_and_never_fall_far_above_the_best_fit(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    fluxes = np.geomspace(1e2, 1e9, BATCH)
    fit = batch(likelihood, fluxes[:, None] / 5.46e6 * np.asarray(signal(likelihood)))
    assert fit.valid.all()
    assert np.all(np.diff(fit.chi2[fluxes > 1e7]) > 0)


def test_without_nuisances_chi2_is_the_plain_sum() -> None:
    bare = counting("bare", [3, 0, 6], [2.0, 1.0, 3.0], {"flat": [1.0, 1.0, 2.0]}, (), error=None)
    likelihood = Likelihood(bare)
    fit = profile(likelihood)
    assert fit.pulls.shape == (0,)
    assert bool(fit.valid)
    N = np.asarray(signal(likelihood)) + np.array([1.0, 1.0, 2.0])
    plain = 2 * (N.sum() - 9) + 2 * (3 * np.log(3 / N[0]) + 6 * np.log(6 / N[2]))
    np.testing.assert_allclose(fit.chi2, plain, rtol=1e-13)


def _split(parts: int) -> Likelihood:
    """One background of width 30%, or `parts` equal shares of it, each on a nuisance of its own."""
    nuisances = tuple(Nuisance(f"n{i}", 0.3 * np.sqrt(parts), (f"b{i}",)) for i in range(parts))
    backgrounds = {f"b{i}": np.array([4.0, 8.0, 6.0]) / parts for i in range(parts)}
    return Likelihood(counting("split", [7, 11, 9], [1.0, 1.5, 0.5], backgrounds, nuisances, error=None))


def test_many_nuisances_equal_the_one_they_add_up_to() -> None:
    # n equal factors 1 + a with sigma_i = sigma sqrt(n): sum (a/sigma_i)^2 = (a/sigma)^2.
    one, twenty = profile(_split(1)), profile(_split(20))
    assert twenty.pulls.shape == (20,)
    assert bool(twenty.valid)
    np.testing.assert_allclose(twenty.chi2, one.chi2, rtol=1e-10)
    np.testing.assert_allclose(twenty.pulls, np.full(20, one.pulls[0] / np.sqrt(20)), rtol=1e-7)


def test_spectator_nuisances_change_nothing() -> None:
    problem = next(p for p in PROBLEMS if p.name == "sm-pandax")
    model, small, extra = problem.arrangement.model, fitted(problem), 15

    def widen(loading):
        return jnp.pad(loading, ((0, 0), (0, extra)))

    wide = eqx.tree_at(
        lambda m: (m.linear, m.logarithmic, m.sigma, m.centre, m.lower, m.upper),
        model,
        (
            widen(model.linear),
            widen(model.logarithmic),
            jnp.pad(model.sigma, (0, extra), constant_values=0.5),
            jnp.pad(model.centre, (0, extra)),
            jnp.pad(model.lower, (0, extra), constant_values=-jnp.inf),
            jnp.pad(model.upper, (0, extra), constant_values=jnp.inf),
        ),
    )
    wide = dataclasses.replace(wide, loading=tuple((*row, *[0.0] * extra) for row in model.loading))
    large = compiled(wide, jnp.asarray(signals(problem)[0]))
    assert len(large.pulls) > 16
    np.testing.assert_allclose(large.chi2, small.chi2, rtol=1e-12)
    np.testing.assert_allclose(large.pulls, np.pad(small.pulls, (0, extra)), rtol=0, atol=1e-10)
