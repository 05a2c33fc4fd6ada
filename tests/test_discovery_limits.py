"""Discovery limits: a counting experiment in closed form, SciPy on three bins, what is refused, the command."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import xlogy

import jcevns as jc
from jcevns.cli import cli, guarded
from jcevns.plot.projections import plot_discovery_limits, plot_fog_index
from jcevns.statistics.discovery_limits import DiscoveryLimits, discovery_limit
from tests import problems

SPECTRUM = jc.TabulatedSpectrum([0.5, 3.0], [40.0, 0.0])
SIGMA = 0.02  # of the 8B flux


def counting(rates: list[float], backgrounds: dict | None = None, nuisances: tuple = ()) -> jc.Likelihood:
    """8B events of one tonne-year in each bin, SPECTRUM as the signal, and backgrounds."""
    built = problems.counting("counting", [1.0] * len(rates), rates, backgrounds or {}, nuisances, error=SIGMA)
    return jc.Likelihood(dataclasses.replace(built, exposure=1.0), jc.StandardModel() + SPECTRUM)


def parts(likelihood: jc.Likelihood) -> tuple[np.ndarray, np.ndarray]:
    """8B events, and those of strength 1."""
    without, both = (np.asarray(jc.signal(likelihood, {"strength": s})) for s in (0.0, 1.0))
    bins = without.size // 2
    without, both = without.reshape(2, bins), both.reshape(2, bins)
    return without.sum(axis=0), (both - without).sum(axis=0)


def q0(s: float, b: float) -> float:
    """Of s + b events on b that are uncertain by SIGMA: the profile is the root of a quadratic equation."""
    v = b * SIGMA**2
    nu = ((1 - v) + math.sqrt((1 - v) ** 2 + 4 * (s + b) * SIGMA**2)) / 2
    return 2 * (b * nu - (s + b) + xlogy(s + b, (s + b) / (b * nu))) + ((nu - 1) / SIGMA) ** 2


def test_one_bin_goes_from_statistics_to_systematics() -> None:
    likelihood = counting([3.0])
    (rate,), (unit,) = parts(likelihood)
    exposures = np.geomspace(0.3, 1e5, 11)
    found = jc.discovery_limits(likelihood, "strength", exposures)

    def limit(exposure: float) -> float:
        return brentq(lambda s: q0(s, rate * exposure) - 9.0, 1e-6, 100 + 10 * rate * exposure, xtol=1e-13) / exposure

    step = 1e-3
    slopes = [math.log(limit(e * math.exp(step)) / limit(e * math.exp(-step))) / (2 * step) for e in exposures]
    np.testing.assert_allclose(found.limits, [limit(e) / unit for e in exposures], rtol=1e-7)
    np.testing.assert_allclose(found.indices, -1 / np.array(slopes), rtol=1e-3)
    # Few events: between no background and Poisson. Many: the flux decides, 2 (1 + sigma^2 b) for Gaussian counts.
    assert 1.0 < found.indices[0] < 2.0
    assert found.indices[-1] == pytest.approx(2 * (1 + SIGMA**2 * rate * exposures[-1]), rel=0.1)
    assert np.all(np.diff(found.indices) > 0)
    exposure, value = found.where(2.0)
    assert -1 / math.log(limit(exposure * 1.001) / limit(exposure / 1.001)) * math.log(1.001**2) == pytest.approx(
        2.0, abs=0.05
    )
    assert value == pytest.approx(limit(exposure) / unit, rel=0.02)
    assert found.where(1e9) is None


def test_a_flux_known_exactly_is_statistics_limited() -> None:
    """n = 2 for a background that is known, at whatever exposure."""
    likelihood = counting([3.0])
    found = jc.discovery_limits(likelihood, "strength", [1e3, 1e5], at={"flux": problems.NOMINAL})
    np.testing.assert_allclose(found.indices, 2.0, rtol=2e-2)
    assert found.limits[0] / found.limits[1] == pytest.approx(10.0, rel=0.02)


def test_three_bins_by_brute_force() -> None:
    likelihood = counting([3.0, 1.5, 0.4], {"flat": [2.0, 2.0, 2.0]}, (jc.Nuisance("flat", 0.2, ("flat",)),))
    neutrinos, unit = parts(likelihood)
    flat = np.full(3, 2.0)
    found = jc.discovery_limits(likelihood, "strength", [1.0, 300.0], significance=5.0)
    for exposure, value in zip(found.exposures, found.limits, strict=True):
        data = exposure * (neutrinos + flat + value * unit)

        def chi2(x: np.ndarray, data: np.ndarray = data, exposure: float = exposure) -> float:
            mean = exposure * (x[0] * neutrinos + x[1] * flat)
            pulls = ((x[0] - 1) / SIGMA) ** 2 + ((x[1] - 1) / 0.2) ** 2
            return 2 * np.sum(mean - data + xlogy(data, data / mean)) + pulls

        lowest = minimize(chi2, [1.1, 1.1], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12})
        assert math.sqrt(lowest.fun) == pytest.approx(5.0, rel=1e-6)
    alone = jc.Likelihood(jc.scaled(likelihood.experiments[0], 300.0), likelihood.theory)
    assert discovery_limit(alone, "strength", 5.0) == pytest.approx(found.limits[1], rel=1e-9)
    expected = jc.expected_significance(alone, "strength", found.limits[1], toys=20)
    assert expected.asimov == pytest.approx(5.0, rel=1e-8)
    half = jc.discovery_limits(likelihood, "strength", [300.0], 5.0, background=0.5, sigma=0.5)
    assert half.limits[0] < found.limits[1]


def test_the_limit_of_a_coupling_is_that_of_its_strength() -> None:
    """The index of a coupling is larger where its signal goes with its square, or its fourth power."""
    likelihood = jc.Likelihood("xenonnt-2024-s2", "magnetic-moment")
    found = jc.discovery_limits(likelihood, "moment", [30.0])
    grown = jc.Likelihood(jc.scaled(likelihood.experiments[0], 30.0), likelihood.theory)
    assert jc.expected_significance(grown, "moment", found.limits[0], toys=10).asimov == pytest.approx(3.0, rel=1e-6)


def test_what_is_never_significant_has_no_limit() -> None:
    tight = problems.bounded(counting([3.0]), "strength", upper=1e-3, default=1e-4)
    assert discovery_limit(tight, "strength") == math.inf


def test_signals_that_interfere_are_noted() -> None:
    found = jc.discovery_limits(jc.Likelihood("xenonnt-2024-s2", "vector"), "coupling", [20.0], at={"mass": 10.0})
    assert "are less significant than 3 sigma again" in found.notes[0]


def test_refusals() -> None:
    likelihood = counting([3.0])
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be a positive number of sigma"):
            discovery_limit(likelihood, "strength", bad)
    for bad in ([], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="increasing exposures"):
            jc.discovery_limits(likelihood, "strength", bad)
    with pytest.raises(ValueError, match="must be positive"):
        jc.discovery_limits(likelihood, "strength", [-1.0, 1.0])
    with pytest.raises(ValueError, match="has no value without signal"):
        discovery_limit(likelihood, "sin2w")
    with pytest.raises(ValueError, match="of one experiment scaled in exposure"):
        jc.discovery_limits(["xenonnt-2024-s2", "pandax4t-us2"], "flux", [1.0])
    alone = jc.Likelihood(likelihood.experiments, SPECTRUM)
    with pytest.raises(ValueError, match="some bin expects no event without signal"):
        discovery_limit(alone, "strength")


def test_plots() -> None:
    found = DiscoveryLimits("strength", "", "x", 3.0, (1.0, 10.0, 100.0), (1.0, 0.3, 0.2), (1.8, 2.5, math.inf))
    ax = plot_discovery_limits(found)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    (line,) = plot_fog_index(found).get_lines()[:1]
    np.testing.assert_array_equal(line.get_ydata(), [1.8, 2.5, math.inf])
    assert found.where(2.0)[0] == pytest.approx(10 ** ((2.0 - 1.8) / 0.7))


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = guarded(lambda: cli(list(words), standalone_mode=False))
    return (code, *capsys.readouterr())


def test_command(capsys, tmp_path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("recoil_keV,events_per_tonne_year_keV\n0.5,40\n3.0,0\n", encoding="utf-8")
    start = ("project", "--discovery", "--spectrum", str(file), "--experiments", "xenonnt-2024-s2", "--exposure")
    out = tmp_path / "fog"
    code, text, err = call(capsys, *start, "1,100", "--json", "--out", str(out))
    assert code == 0, err
    found = json.loads(text)
    exact = jc.discovery_limits(
        jc.Likelihood("xenonnt-2024-s2", jc.StandardModel() + SPECTRUM), "strength", [1.0, 100.0]
    )
    assert found["limits"] == pytest.approx(exact.limits, rel=1e-9)
    assert found["indices"] == pytest.approx(exact.indices, rel=1e-6)
    assert {p.name for p in tmp_path.iterdir()} == {"mine.csv", "fog.png", "fog.pdf"}
    code, text, _ = call(capsys, *start, "100", "--significance", "5")
    assert code == 0
    assert "5 sigma" in text
    for words, message in (
        ((*start, "1", "--toys", "10"), "--toys is not used here"),
        (("project", "--experiments", "xenonnt-2024-s2", "--exposure", "1", "--significance", "3"), "--discovery"),
    ):
        code, _, err = call(capsys, *words)
        assert code == 2
        assert message in err


def test_the_largest_exposure_has_a_limit_and_an_index() -> None:
    """The step to one percent more was refused."""
    found = jc.discovery_limits("xenonnt-2024-s2", "flux", [9.9e5, 1e6])
    assert found.limits[1] < found.limits[0]
    assert found.indices[1] == pytest.approx(found.indices[0], rel=0.05)
