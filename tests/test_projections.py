"""Expected sensitivities: against intervals of Asimov data, and against counts in closed form."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, xlogy

import jcevns as jc
from jcevns.fit.interval import interval
from jcevns.statistics import projections
from jcevns.statistics.projections import (
    asimov,
    expected_error,
    expected_limit,
    expected_significance,
    scaled,
)
from tests import problems
from tests.problems import NOMINAL
from tests.test_toys import SIN2W, in_electrons

ONE_SIGMA = 0.6826894921370859


@pytest.mark.parametrize(("name", "truth"), [("flux", NOMINAL), ("sin2w", SIN2W)])
def test_expected_error_is_half_the_interval_of_asimov_data(name, truth) -> None:
    grown = scaled(problems.built(problems.XENONNT), 35.0)
    found = expected_error(grown, name, truth, toys=50)
    counts = np.asarray(asimov(grown, name, truth).model.observed)
    nominal = sum(np.asarray(b) for b in grown.backgrounds.values()) + np.asarray(
        jc.signal_counts(grown, jc.StandardModel())
    )
    np.testing.assert_allclose(counts, nominal, rtol=1e-12)
    exact = interval(dataclasses.replace(grown, observed=counts), name, ONE_SIGMA)
    assert found.asimov == pytest.approx((exact.upper - exact.lower) / 2, rel=1e-6)
    assert found.bands == tuple(sorted(found.bands))
    assert found.bands[1] < truth < found.bands[3]
    assert (found.toys, found.invalid) == (50, 0)


def test_expected_significance_follows_asimov_data() -> None:
    """Counting with a background known exactly: the median of toys and sqrt(q0) in closed form."""
    data = problems.counting("plain", [0, 0], [60.0, 30.0], {"flat": [100.0, 80.0]}, (), error=None)
    found = expected_significance(data, "flux", NOMINAL, toys=2000)
    s, b = np.asarray(jc.signal_counts(data, jc.StandardModel())), np.array([100.0, 80.0])
    exact = np.sqrt(2 * np.sum((s + b) * np.log(1 + s / b) - s))
    assert found.asimov == pytest.approx(exact, rel=1e-6)
    assert found.bands[2] == pytest.approx(exact, abs=0.1)
    assert found.bands[3] - found.bands[1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("background", [(20000.0, 15000.0), (2e6, 1.5e6)])
def test_limit_on_a_coupling_far_above_its_scale(background) -> None:
    """No toy is left out: Asimov limit and bands by a dense search on counts in closed form."""
    built = jc.Likelihood(in_electrons(list(background), list(background)), "scalar")
    found = expected_limit(built, "coupling", at={"mass": 10.0}, toys=400)
    zero, some = (np.asarray(jc.signal(built, {"mass": 10.0, "coupling": g})) for g in (0.0, 1e-5))
    couplings = np.concatenate([[0.0], np.geomspace(1e-6, 3e-4, 20000)])
    counts = zero + couplings[:, None] ** 4 * (some - zero) / 1e-20 + np.array(background)

    def limit(data: np.ndarray) -> float:
        chi2 = 2 * np.sum(counts - data + xlogy(data, data / counts), axis=1)
        return couplings[np.flatnonzero(chi2 - chi2.min() <= 2.705543454095404)[-1]]

    assert found.asimov == pytest.approx(limit(counts[0]), rel=5e-4)
    toys = np.random.default_rng(1).poisson(counts[0], (400, 2)).astype(float)
    bands = np.quantile([limit(d) for d in toys], [0.0228, 0.1587, 0.5, 0.8413, 0.9772])
    np.testing.assert_allclose(found.bands, bands, rtol=0.1)
    assert (found.toys, found.invalid, found.censored) == (400, 0, 0)


def test_toys_beyond_the_bound_are_counted_not_dropped() -> None:
    """One bin, nothing else: the limit of every possible count is known, so is how many toys lie above the bound."""
    b, bound = 9.0, 7.0
    data = problems.counting("plain", [9], [6.0], {"flat": [b]}, (), error=None)
    likelihood = jc.Likelihood(data, jc.TabulatedSpectrum([0.5, 3.0], [40.0, 0.0]))
    unit = float(jc.signal(likelihood, {"strength": 1.0})[0])
    tight = problems.bounded(likelihood, "strength", upper=bound / unit, default=0.1)
    found, free = (expected_limit(one, "strength", toys=500, seed=4) for one in (tight, likelihood))
    counts, _ = jc.simulate(likelihood, "strength", value=0.0, count=500, seed=4)

    def limit(n: float) -> float:
        best = max(n, b)
        chi2 = lambda s: 2 * (s + b - best) - 2 * xlogy(n, (s + b) / best)  # noqa: E731
        return brentq(lambda s: chi2(s) - 2.705543454095404, best - b, 60.0)

    exact = np.array([limit(n) for n in counts[:, 0]])
    assert (found.toys, found.invalid, found.censored) == (500, 0, int(np.sum(exact > bound)))
    assert found.censored > 50
    assert (free.toys, free.invalid, free.censored) == (500, 0, 0)
    np.testing.assert_allclose(np.array(free.bands) * unit, np.quantile(exact, ndtr(np.arange(-2.0, 3.0))), rtol=1e-7)
    closed = np.isfinite(found.bands)
    np.testing.assert_allclose(np.array(found.bands)[closed], np.array(free.bands)[closed], rtol=1e-7)
    assert not closed[-1]


def test_projections_without_valid_fits_are_refused(monkeypatch) -> None:
    run, segments = projections.run_toys, projections.fit_segments

    def lossy(found):
        found.valid[:2] = False
        return found

    monkeypatch.setattr(projections, "run_toys", lambda *a: lossy(run(*a)))
    monkeypatch.setattr(projections, "fit_segments", lambda *a: lossy(segments(*a)))
    data = problems.counting("plain", [9], [6.0], {"flat": [9.0]}, (), error=None)
    for expected in (expected_significance, expected_error):
        with pytest.raises(RuntimeError, match=r"2 of 100 toys .* have no valid fit"):
            expected(data, "flux", NOMINAL, toys=100)
    with pytest.raises(RuntimeError, match=r"2 of 100 toys .* have no valid fit"):
        expected_limit(data, "flux", toys=100)


class Saturating(jc.Interaction):
    """A parameter of a user that stops mattering: no value is excluded by data that allow a fifth more signal."""

    size: float = jc.parameter(0.0, lower=0.0, null=0.0)

    def weights(self):
        return (1.0 + 0.2 * self.size / (1.0 + self.size))[None]

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        return jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]


def test_limits_beyond_everything_are_infinite() -> None:
    built = jc.Likelihood(problems.built(problems.XENONNT), Saturating())
    found = expected_limit(built, "size", toys=60)
    assert found.asimov == np.inf
    assert found.bands[2:] == (np.inf,) * 3
    assert found.censored > 30
    assert found.toys + found.invalid == 60
    error = expected_error(built, "size", 1.0, toys=20)
    assert error.asimov == np.inf
    assert error.censored > 0


def test_scaled() -> None:
    one = problems.built(problems.XENONNT)
    grown = scaled(one, 10 * one.exposure, background=0.5, sigma=0.5)
    np.testing.assert_allclose(
        jc.signal_counts(grown, jc.StandardModel()), 10 * jc.signal_counts(one, jc.StandardModel()), rtol=1e-12
    )
    for name, counts in one.backgrounds.items():
        np.testing.assert_allclose(grown.backgrounds[name], 5 * counts, rtol=1e-12)
    assert [n.sigma for n in grown.nuisances] == [n.sigma / 2 for n in one.nuisances]
    assert jc.Likelihood([one, grown]).names == (one.name, grown.name)
    assert jc.Likelihood(grown).parameters["flux"].sigma == jc.Likelihood(one).parameters["flux"].sigma
    for bad in ({"exposure": -1.0}, {"exposure": np.nan}, {"exposure": 1.0, "background": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            scaled(one, **bad)
    with pytest.raises(ValueError, match="does not state its exposure"):
        scaled(problems.built("heavy"), 10.0)


def test_widths_of_components_scale_together() -> None:
    """A nuisance with widths of its own for each component acts on all of them half as much."""
    nuisance = jc.Nuisance("gain", 0.1, {"signal": 0.1, "flat": -0.3})
    data = problems.counting("two", [5, 5], [3.0, 2.0], {"flat": [4.0, 4.0]}, (nuisance,))
    grown = scaled(dataclasses.replace(data, exposure=1.0), 2.0, sigma=0.5)
    assert grown.nuisances[0].sigma == pytest.approx(0.05)
    assert grown.nuisances[0].power("flat") == pytest.approx(-3.0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="'sin2w' has no value without signal"):
        expected_significance(problems.built(problems.XENONNT), "sin2w", SIN2W)
    with pytest.raises(ValueError, match="has no value without signal"):
        expected_limit(problems.built(problems.XENONNT), "sin2w")
    with pytest.raises(ValueError, match="outside"):
        asimov(problems.built(problems.XENONNT), "flux", -1.0)
