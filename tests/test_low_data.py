"""Data that run low, coverage of what toys calibrate, and nuisances on the signal of parts of the bins."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import xlogy
from scipy.stats import norm, poisson

import jcevns as jc
from jcevns.cli import cli
from jcevns.statistics.limits import where_low
from tests import problems

BACKGROUND, CL, RISE = 50.0, 0.90, 2.705543454095404
SPECTRUM = jc.TabulatedSpectrum([0.5, 3.0], [40.0, 0.0])


def counting(seen: float) -> jc.Likelihood:
    """One bin, known background, a strength whose signal is proportional to it."""
    built = problems.counting("counts", [seen], [10.0], {"flat": [BACKGROUND]}, (), error=None)
    return jc.Likelihood(built, SPECTRUM)


def per_strength() -> float:
    return float(jc.signal(counting(1), {"strength": 1.0})[0])


def q(s: float, n: float) -> float:
    """Delta chi2 of a signal of s events, from the best fit from zero up."""
    chi2 = lambda x: 2 * (x + BACKGROUND - n + xlogy(n, n / (x + BACKGROUND)))  # noqa: E731
    return chi2(s) - chi2(max(n - BACKGROUND, 0.0))


def limit_of(n: float) -> float:
    return brentq(lambda s: q(s, n) - RISE, max(n - BACKGROUND, 1e-9), 200.0)


def expected_at(sigma: float) -> float:
    """Two-sided limit of data at a number of sigma: root of Asimov data is sigma + sqrt(sigma^2 [below 0] + RISE)."""
    root = sigma + np.sqrt((sigma**2 if sigma < 0 else 0.0) + RISE)
    return brentq(lambda s: q(s, BACKGROUND) - root**2, 1e-9, 300.0)


def test_data_that_run_low_say_so() -> None:
    unit = per_strength()
    for seen, low in ((38.0, True), (42.0, True), (46.0, False), (50.0, False), (60.0, False)):
        assert (limit_of(seen) < expected_at(-1.0)) is low  # else the case tests nothing
        (found,) = jc.limits(counting(seen), "strength", cl=CL, expected=True)
        assert found.upper * unit == pytest.approx(limit_of(seen), rel=1e-5)
        assert found.expected[1] * unit == pytest.approx(expected_at(-1.0), rel=1e-5)
        assert found.runs_low is low
        assert bool(found.note) is low
        assert found.constrained * unit == pytest.approx(max(limit_of(seen), expected_at(-1.0)), rel=1e-5)
        # Not asked for, the same is found out, and only where it matters.
        (bare,) = jc.limits(counting(seen), "strength", cl=CL)
        asked = where_low(counting(seen), bare, CL)
        assert asked.runs_low is low
        assert bool(asked.expected) is low
        assert bare.constrained is None
        assert not bare.runs_low


def test_power_constrained_limits_keep_that_of_the_data() -> None:
    unit, alpha = per_strength(), norm.ppf(CL)
    (found,) = jc.limits(counting(42.0), "strength", method="pcl", cl=CL)
    (alone,) = jc.limits(counting(42.0), "strength", method="one-sided", cl=CL)
    least = brentq(lambda s: q(s, BACKGROUND) - (alpha - 1.0) ** 2, 1e-9, 100.0)
    assert found.upper * unit == pytest.approx(least, rel=1e-5)
    assert found.bare == pytest.approx(alone.upper, rel=1e-9)
    assert found.alone < found.upper
    assert found.runs_low
    assert f"{found.upper:.4g}" in found.note
    assert not jc.limits(counting(52.0), "strength", method="pcl", cl=CL)[0].runs_low
    (toys,) = jc.limits(counting(42.0), "strength", method="pcl", cl=CL, toys=2000)
    assert toys.runs_low
    assert "calibrated by 2000 toys" in toys.note
    assert toys.bare < toys.upper


def test_the_command_line_says_it_in_one_line(monkeypatch, capsys) -> None:
    from jcevns.experiments import catalogue, names

    few = problems.counting("few", [38.0], [10.0], {"flat": [BACKGROUND]}, (), error=None)
    usual = dataclasses.replace(few, name="usual", observed=np.array([50.0]))
    for built in (few, usual):
        monkeypatch.setitem(names.ENTRIES, built.name, names.Entry("", "user", ""))
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"few": lambda: few, "usual": lambda: usual})
    for name, low in (("few", True), ("usual", False)):
        cli.main(["limit", "flux", "--experiments", name], standalone_mode=False)
        lines = [line for line in capsys.readouterr().out.splitlines() if "the data run low" in line]
        assert len(lines) == low
        assert all("power-constrained" in line and "expected without signal" in line for line in lines)
        cli.main(["limit", "flux", "--experiments", name, "--json"], standalone_mode=False)
        (row,) = json.loads(capsys.readouterr().out)
        assert row.get("runs_low", False) is low


# Coverage ------------------------------------------------------------------------------------------------------


def one_sided(s: float, n: np.ndarray) -> np.ndarray:
    return np.array([0.0 if k - BACKGROUND > s else q(s, k) for k in n])


@pytest.mark.parametrize("true", [0.0, 5.0, 12.0])
def test_coverage_of_calibrated_limits_is_that_of_the_counts(true) -> None:
    toys, unit = 10_000, per_strength()
    n = np.arange(1, 140)
    chance, statistic = poisson.pmf(n, true + BACKGROUND), one_sided(true, n)
    order = np.argsort(statistic)
    levels = np.cumsum(chance[order])
    critical = statistic[order][np.searchsorted(levels, CL)]
    exact = chance[statistic <= critical + 1e-9].sum()
    (row,) = jc.coverage(counting(50.0), "strength", [true / unit], [CL], toys, calibrated=True, upper=True, seed=3)
    assert exact >= CL - 1e-12  # counts are whole: more is covered than asked for
    assert row.coverage == pytest.approx(exact, abs=4 * row.error)
    if true > 0:  # the same by the asymptotic threshold
        (formula,) = jc.coverage(counting(50.0), "strength", [true / unit], [CL], toys, upper=True)
        threshold = norm.ppf(CL) ** 2
        assert formula.threshold == pytest.approx(threshold)
        assert formula.coverage == pytest.approx(chance[statistic <= threshold].sum(), abs=4 * formula.error)


@pytest.mark.slow
def test_coverage_of_the_first_s2only_run() -> None:
    (row,) = jc.coverage("xenonnt-s2only-2026:run=sr0", "flux", [5.46e6], [CL], 200, calibrated=True, upper=True)
    assert row.invalid == 0
    assert row.coverage == pytest.approx(CL, abs=3 * row.error)


def test_coverage_of_upper_limits_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="coverage of an upper limit needs"):
        jc.coverage("xenonnt-2024-s2", "sin2w", [0.23], toys=10, upper=True)


# Parts of the bins ---------------------------------------------------------------------------------------------


def in_parts(components=("signal:late",), parts=(("early", 2), ("late", 1))) -> jc.Experiment:
    built = problems.counting("parts", [9.0, 7.0, 4.0], [4.0, 3.0, 2.0], {"flat": [3.0, 2.0, 1.0]}, ())
    return dataclasses.replace(built, parts=parts, nuisances=(jc.Nuisance("late", 0.3, components),))


def test_a_nuisance_on_the_signal_of_a_part() -> None:
    likelihood = jc.Likelihood(in_parts())
    plain = np.asarray(jc.signal_counts(in_parts(), jc.StandardModel()))
    data, background = np.array([9.0, 7.0, 4.0]), np.array([3.0, 2.0, 1.0])
    for late, flux in ((1.0, 1.0), (0.6, 1.1), (1.7, 0.4)):
        expected = background + flux * plain * [1.0, 1.0, late]
        wanted = 2 * np.sum(expected - data + xlogy(data, data / expected))
        wanted += ((late - 1) / 0.3) ** 2 + ((flux - 1) / 0.12) ** 2
        found = jc.chi2(likelihood, {"late": late, "flux": flux * 5.46e6})
        assert float(found) == pytest.approx(wanted, abs=1e-9)
    split = jc.component_counts(likelihood, {"late": 0.5})["parts"]["signal"]
    np.testing.assert_allclose(split, plain * [1.0, 1.0, 0.5], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": ("signal:middle",)}, "acts on unknown signal:middle"),
        ({"components": ("signal", "signal:late")}, "acts on the signal and on parts of it: name one"),
        ({"parts": (("early", 2), ("late", 2))}, "must have names of their own and 3 bins in all"),
        ({"parts": (("late", 2), ("late", 1))}, "must have names of their own"),
    ],
)
def test_bad_parts(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        in_parts(**changes)
