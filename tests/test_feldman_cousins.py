"""Feldman-Cousins intervals: a bounded Gaussian and Poisson counts by numerical integration, what is refused."""

from __future__ import annotations

import json
import math

import jax
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import xlogy
from scipy.stats import norm, poisson

import jcevns as jc
from jcevns.cli import cli, guarded
from tests import problems
from tests.test_upper_limits import BANDS, limit, one_bin

CL = 0.90


def gaussian_ends(x: float) -> tuple[float, float]:
    """Accepted mu >= 0 for one measurement x of unit width: q = (x - mu)^2, less x^2 where x < 0."""
    grid = np.linspace(-9, 16, 50_001)

    def excess(mu: float) -> float:
        """Delta chi2 of mu less its critical value."""
        q = (grid - mu) ** 2 - np.where(grid < 0, grid**2, 0.0)
        order = np.argsort(q)
        weights = np.cumsum(norm.pdf(grid[order] - mu)) * (grid[1] - grid[0])
        return (x - mu) ** 2 - min(x, 0.0) ** 2 - np.interp(CL, weights, q[order])

    top = max(x, 0.0)
    low = brentq(excess, 0.0, top, xtol=1e-4) if top > 0 and excess(0.0) > 0 else 0.0
    return low, brentq(excess, top + 1e-6, top + 4.0, xtol=1e-4)


@pytest.mark.parametrize("pull", [-1.0, 0.5, 2.5])
def test_a_bounded_gaussian(pull) -> None:
    """1e8 events: one end or two, as the measurement decides (Table X of arXiv:physics/9711021)."""
    b = 1e8
    likelihood, unit = one_bin(b + pull * math.sqrt(b), b)
    found = limit(likelihood, "feldman-cousins", toys=2000)
    assert found.valid, found.problems
    low, high = gaussian_ends(pull)
    ((start, end),) = found.segments
    error = found.error * unit / math.sqrt(b)
    assert end * unit / math.sqrt(b) == pytest.approx(high, abs=4 * error + 5e-3)
    assert error < 0.06
    if low == 0.0:
        assert start is None
        assert found.excluded == ((end, None),)
    else:
        assert start * unit / math.sqrt(b) == pytest.approx(low, abs=0.1)
        assert [pair[0] for pair in found.excluded] == [0.0, end]
    expected = [gaussian_ends(z)[1] for z in BANDS]
    np.testing.assert_allclose(np.array(found.expected) * unit / math.sqrt(b), expected, atol=0.15)
    threshold = (high - pull) ** 2 - min(pull, 0.0) ** 2
    assert found.threshold == pytest.approx(threshold, rel=0.15)


def test_poisson_counts() -> None:
    n, b = 14, 8.0
    counts = np.arange(200)

    def q(n: np.ndarray, s: float) -> np.ndarray:
        best = np.maximum(n, b)
        return 2 * (s + b - best) - 2 * xlogy(n, (s + b) / best)

    def critical(s: float) -> float:
        values = q(counts, s)
        order = np.argsort(values)
        return values[order][np.searchsorted(np.cumsum(poisson.pmf(counts[order], s + b)), CL)]

    tested = np.linspace(0.0, 25.0, 1001)
    inside = [s for s in tested if q(np.array(n), s) <= critical(s) + 1e-9]
    likelihood, unit = one_bin(n, b)
    found = limit(likelihood, "feldman-cousins", toys=4000)
    ((start, end),) = found.segments
    assert start * unit == pytest.approx(inside[0], abs=0.5)  # critical values jump from count to count
    assert end * unit == pytest.approx(inside[-1], abs=0.5)
    direct = jc.toy_interval(likelihood, "strength", np.linspace(0, 25, 26) / unit, CL, toys=1000)
    assert direct.upper == pytest.approx(end, rel=0.05)


class Mirrored(jc.Interaction):
    """The Standard Model times (1 + eps)^2: eps and -2 - eps are the same."""

    eps: jax.Array = jc.parameter(0.0, lower=-3.5, upper=1.5, null=0.0)

    def weights(self):
        return (1 + self.eps[None]) ** 2

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        return jax.numpy.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]


def test_islands_of_a_signed_parameter() -> None:
    """Both are kept; without a bound at no signal there are no expected upper limits."""
    likelihood = jc.Likelihood(problems.counting("c", [95, 48], [60.0, 20.0], {"flat": [30.0, 30.0]}, ()), Mirrored())
    found = limit(likelihood, "feldman-cousins", name="eps", toys=100)
    two = limit(likelihood, "two-sided", name="eps")
    assert found.expected == ()
    assert len(found.segments) == len(two.segments) == 2
    for ours, theirs in zip(found.segments, two.segments, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.1)
    assert found.segments[0][0] == pytest.approx(-2 - found.segments[1][1], abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "is by toys: give their number, as toys=1000"),
        ({"toys": 99}, "too few for a Feldman-Cousins interval at 0.9: ask for 100 or more"),
        ({"toys": 200, "dof": 2}, "leave dof, minimum"),
        ({"toys": 200, "expected": True}, "expected ones anyway"),
        ({"toys": 200, "seed": -1}, "seed -1"),
    ],
)
def test_refusals(options, message) -> None:
    likelihood, _ = one_bin(3, 3.0)
    with pytest.raises(ValueError, match=message):
        limit(likelihood, "feldman-cousins", **options)


def test_command(capsys) -> None:
    start = ("limit", "flux", "--experiments", "xenonnt-2024-s2", "--method", "feldman-cousins")

    def call(*words: str) -> tuple[int, str, str]:
        code = guarded(lambda: cli([*start, *words], standalone_mode=False))
        return (code, *capsys.readouterr())

    code, out, err = call()
    assert (code, out) == (2, "")
    assert "as in --toys 1000" in err
    found = limit(jc.Likelihood("xenonnt-2024-s2"), "feldman-cousins", name="flux", toys=200)
    (row,) = json.loads(call("--toys", "200", "--json")[1])
    assert row["excluded"] == [pytest.approx(pair) for pair in found.excluded]
    assert (row["method"], row["toys"], len(row["expected"])) == ("feldman-cousins", 200, 5)
