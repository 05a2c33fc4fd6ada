"""The batched fit where an experiment has many bins: arrays and matrix products in place of written-out sums."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.inference import newton, newton_step
from jcevns.inference.batch import profile_signals
from jcevns.inference.grid import grid_signals


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
    signals = grid_signals(likelihood(), jc.grid(name, mass=masses, coupling=couplings))
    found = profile_signals(likelihood(), signals, chunk=64)
    assert np.all(found.valid)
    for point in range(0, masses.size * couplings.size, 4):
        i, j = np.unravel_index(point, (masses.size, couplings.size))
        one = jc.profile(likelihood(), jc.interaction(name, float(masses[i]), float(couplings[j])))
        assert found.chi2[point] == pytest.approx(float(one.chi2), rel=1e-9, abs=1e-8)
        np.testing.assert_allclose(found.slope[:, point], one.slope, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.pulls[:, point], one.pulls, atol=2e-5)


def test_a_likelihood_of_one_background_less_experiment_with_many_bins() -> None:
    csi = jc.experiment("coherent-csi-2021", shapes="none")
    bare = jc.Experiment(
        "bare", csi.flux, csi.target, csi.response, csi.observed, {}, [jc.Nuisance("all", 0.1, ("signal",))]
    )
    alone = jc.Likelihood(bare)
    signals = np.asarray(jc.signal(alone, jc.StandardModel()))[:, None]
    found = profile_signals(alone, signals, chunk=64)
    # One factor f on everything: 2 sum(f S - D ln f) + ((f - 1)/0.1)^2 is least at a root of a quadratic.
    total, data = signals.sum(), float(np.asarray(bare.observed)[signals[:, 0] > 0].sum())
    b, c = total - 100.0, -data
    factor = (-b + (b**2 - 4 * 100.0 * c) ** 0.5) / 200.0
    assert float(found.pulls[0, 0]) == pytest.approx(factor - 1, rel=1e-6)


def test_a_parameter_that_changes_nothing() -> None:
    with pytest.raises(ValueError, match="xenonnt-er-2022: chi2 does not depend on flux, nothing to fit"):
        jc.measure("flux", "xenonnt-er-2022")


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
