"""Verdicts on the paper's sentences about Fig. 5, on curves that cross where we say."""

import dataclasses

import numpy as np
import pytest

from jcevns.paper import statements
from jcevns.paper.statements import TOLERANCE, Statement

MASS = np.geomspace(1e-2, 1e5, 15)
SAID = Statement("scalar", "ours leads", ("flat", "steep"), 10.0, 1000.0)


def curves(low=10.0, high=1000.0):
    """Ours is the best between two masses: `steep` is better below, `flat` above."""
    ours = 1e-5 * MASS**0.5
    steep = 1e-5 * MASS / low**0.5
    flat = np.full(MASS.size, 1e-5 * high**0.5)
    return {"8B": (MASS, ours), "steep": (MASS, steep), "flat": (MASS, flat)}


def test_crossings_of_power_laws_are_exact():
    found = curves()
    ((low, high),) = statements.leading(found["8B"], [found["steep"], found["flat"]])
    assert (low, high) == pytest.approx((10.0, 1000.0), rel=1e-6)
    mass, factor = statements.advantage(found["8B"], [found["flat"]])
    assert factor == pytest.approx((1000.0 / mass) ** 0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (10.0, 1000.0, "agrees: 8B leads for 10 < m < 1000 MeV"),
        (10.0 * TOLERANCE * 0.98, 1000.0, "agrees"),
        (10.0 * TOLERANCE * 1.02, 1000.0, "differs in lower end: 8B leads for 15 < m < 1000 MeV"),
        (10.0, 300.0, "differs in upper end"),
        (1.0, 1e4, "differs in lower end and upper end"),
        (1000.0, 10.0, "differs: 8B leads for no mass"),
    ],
)
def test_verdict_falls_as_the_curves_do(low, high, start):
    text, ranges = statements.verdict(SAID, curves(low, high))
    assert text.startswith(start)
    assert len(ranges) == (low < high)


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (10.0, 1000.0, "not comparable in lower end (another limit): 8B leads for 10 < m < 1000 MeV"),
        (1.0, 1000.0, "not comparable in lower end (another limit): 8B leads for 1 < m < 1000 MeV"),
        (1.0, 300.0, "differs in upper end: 8B leads for 1 < m < 300 MeV"),
        (1000.0, 10.0, "differs: 8B leads for no mass"),
    ],
)
def test_an_end_from_a_limit_that_is_not_ours_is_not_judged(low, high, start):
    said = dataclasses.replace(SAID, low_from="another limit")
    assert statements.verdict(said, curves(low, high))[0] == start


def test_verdict_names_open_ends_and_several_ranges():
    found = curves()
    worse = {**found, "steep": (MASS, 10 * found["flat"][1])}
    text, _ = statements.verdict(SAID, worse)
    assert text == "differs in lower end: 8B leads for m < 1000 MeV"
    bump = found["8B"][1] * np.where(np.abs(np.log10(MASS) - 2) < 0.2, 30.0, 1.0)
    text, ranges = statements.verdict(SAID, {**found, "8B": (MASS, bump)})
    assert text.startswith("differs: 8B leads for 10 < m < ")
    assert len(ranges) == 2
    assert " and " in text


def test_a_curve_without_limit_is_beaten():
    found = curves()
    nothing = (MASS, np.full(MASS.size, np.nan))
    assert statements.leading(found["8B"], [nothing]) == [(pytest.approx(1e-2), pytest.approx(1e5))]
    assert statements.leading(nothing, [found["8B"]]) == []
    with pytest.raises(ValueError, match="no masses in common"):
        statements.advantage(found["8B"], [(MASS * 1e8, MASS)])
