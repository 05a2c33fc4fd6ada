"""The batched fit where an experiment has many bins: arrays and matrix products in place of written-out sums."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.fit import newton, newton_step
from jcevns.fit.batch import profile_signals
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import arranged
from tests import problems


@cache
def likelihood() -> jc.Likelihood:
    names = ("xenonnt-2024-s2", "coherent-csi-2021", "xenonnt-er-2022", "lz-er-ws2022", "texono-2010")
    options = {"coherent-csi-2021": {"shapes": "none"}}
    return jc.Likelihood([jc.experiment(name, **options.get(name, {})) for name in names])


def test_some_experiments_are_beyond_the_written_out_sums() -> None:
    sizes = [stop - first for first, stop in likelihood().layout.bins]
    assert min(sizes) <= newton._WRITTEN_OUT < max(sizes)


@pytest.mark.parametrize("name", ["scalar", "vector"])
def test_fits_are_those_of_the_robust_minimiser(name) -> None:
    masses, couplings = np.array([0.1, 10.0, 1e3]), np.geomspace(1e-7, 1e-4, 7)
    here, points = likelihood().under(name), np.array([(m, g) for m in masses for g in couplings])
    signals = jc.Surface(here, ("mass", "coupling")).signals(points).T
    found = profile_signals(arranged(here), signals, chunk=64)
    assert np.all(found.valid)
    for point in range(0, len(points), 4):
        one = jc.profile(here, dict(zip(("mass", "coupling"), points[point], strict=True)))
        assert found.chi2[point] == pytest.approx(float(one.chi2), rel=1e-9, abs=1e-8)
        slope = _slope(here.model, jnp.asarray(signals[:, point]))
        np.testing.assert_allclose(found.slope[:, point], slope, rtol=1e-4, atol=1e-7)
        pulls = models.sigmas(here.model, models.pulls(here.model, jnp.asarray(found.x[:, point])))
        np.testing.assert_allclose(pulls * here.model.sigma, one.pulls * here.model.sigma, atol=2e-5)


_slope = jax.jit(jax.grad(lambda model, counts: problems.profile_signal(model, counts).chi2, 1))


def test_a_likelihood_of_one_background_less_experiment_with_many_bins() -> None:
    csi = jc.experiment("coherent-csi-2021", shapes="none")
    # One channel, and a flux without an error of its own.
    (first, *_) = csi.channels
    channel = dataclasses.replace(first, flux=dataclasses.replace(first.flux, error=None))
    bare = jc.Experiment("bare", channel, csi.observed, {}, [jc.Nuisance("all", 0.1, ("signal",))])
    alone = jc.Likelihood(bare)
    signals = np.asarray(jc.signal(alone))[:, None]
    found = profile_signals(arranged(alone), signals, chunk=64)
    # One factor f on everything: 2 sum(f S - D ln f) + ((f - 1)/0.1)^2 is least at a root of a quadratic.
    total, data = signals.sum(), float(np.asarray(bare.observed)[signals[:, 0] > 0].sum())
    b, c = total - 100.0, -data
    factor = (-b + (b**2 - 4 * 100.0 * c) ** 0.5) / 200.0
    assert float(np.exp(found.x[0, 0])) == pytest.approx(factor, rel=1e-7)


def test_a_parameter_that_changes_nothing() -> None:
    with pytest.raises(ValueError, match=r"xenonnt-er-2022: chi2 does not depend on r0, nothing to fit"):
        jc.interval("xenonnt-er-2022", "r0")  # of nuclei, and the targets are electrons


def test_newton_step_of_more_nuisances_than_are_written_out() -> None:
    rng = np.random.default_rng(1)
    size = newton_step._UNROLL_UP_TO + 5
    root = rng.normal(size=(size, size))
    matrix, gradient = root @ root.T + np.eye(size), rng.normal(size=size)
    step, decrement = newton_step.newton_step(jnp.asarray(gradient), jnp.asarray(matrix), jnp.asarray(0.0))
    exact = np.linalg.solve(matrix, gradient)
    np.testing.assert_allclose(step, -exact, rtol=1e-9)
    assert float(decrement) == pytest.approx(gradient @ exact / 2, rel=1e-9)
    _, indefinite = newton_step.newton_step(
        jnp.asarray(gradient), jnp.asarray(matrix - 3 * np.diag(np.diag(matrix))), jnp.asarray(0.0)
    )
    assert np.isinf(float(indefinite))
