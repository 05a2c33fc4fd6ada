"""Every check of `jcevns.fit.validity` fails where it should, says what to do, and reaches the result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import jcevns as jc
from jcevns.fit.curve import Survey
from jcevns.fit.validity import EDM_GOAL, minimum_problems, profile_problems, require_toys
from tests import users

X = np.linspace(-3.0, 3.0, 61)


def parabola(**changes: Any) -> Survey:
    found = {"x": X, "chi2": 20 * X**2, "lower": -3.0, "upper": 3.0, "resolved": True} | changes
    return Survey(**found)


def check(survey: Survey, **changes: Any) -> list[str]:
    ends = math.sqrt(2.71 / 20)
    asked = {"level": 2.71, "segments": ((-ends, ends),), "ends_good": True, "lowest": 0.0} | changes
    return profile_problems("eps", survey, **asked)


def test_nothing_is_wrong_with_a_parabola() -> None:
    assert check(parabola()) == []
    assert check(parabola(), segments=((None, None),)) == []  # open ends say so


@pytest.mark.parametrize(
    ("survey", "changes", "words"),
    [
        (parabola(resolved=False), {}, "structure finer than was searched: give the parameter closer bounds"),
        (parabola(), {"ends_good": False}, "rests on a fit that is not valid: give it closer bounds"),
        (parabola(chi2=np.where(np.abs(X - 1) < 0.2, np.nan, 20 * X**2)), {}, "fits along eps fail"),
        (parabola(), {"segments": ((-3.0, 0.4),)}, "end of the range that was searched: give it wider bounds"),
        (parabola(), {"segments": ((-0.4, 3.0),)}, "end of the range that was searched: give it wider bounds"),
        (parabola(), {"lowest": 0.5}, "falls 0.5 below the minimum: it is a local one, fit again"),
        (parabola(), {"level": math.nan}, "no fit along eps is valid: check the counts"),
    ],
)
def test_each_check_of_a_profile(survey, changes, words) -> None:
    (problem,) = check(survey, **changes)
    assert words in problem


def test_each_check_of_a_minimum() -> None:
    assert minimum_problems(EDM_GOAL / 10, ["a"], valid=True) == []
    (far,) = minimum_problems(1e-3, ["a"], valid=False)
    assert "no minimum was reached (EDM 1.0e-03, goal 1e-07): try other starting values" in far
    (flat,) = minimum_problems(math.inf, ["a", "b"], valid=False)
    assert "no curvature in some direction of a and b" in flat
    assert "fix one" in flat
    (inner,) = minimum_problems(0.0, ["a"], valid=False)
    assert "nuisances have no valid fit" in inner


def test_lost_toys() -> None:
    require_toys(1, 1000, "mu = 0")
    with pytest.raises(RuntimeError, match="2 of 1000 toys at mu = 0 have no valid fit"):
        require_toys(2, 1000, "mu = 0")


def test_a_result_says_why_it_is_not_valid() -> None:
    """Two parameters of which the data see the sum alone: no curvature along the difference."""
    likelihood = jc.Likelihood("xenonnt-2024-s2", users.Twin())
    found = jc.fit(likelihood, ("one", "two"), errors=False)
    assert not found.valid
    assert any("no curvature" in problem and "constrained=" in problem for problem in found.problems)
    assert "no curvature" in str(found.table())


def test_an_interval_and_a_limit_print_their_problems() -> None:
    one = jc.interval("xenonnt-2024-s2", "sin2w")
    assert one.valid
    assert "NOT VALID" not in str(one)
    wrong = type(one)(one.name, one.unit, one.cl, one.threshold, one.segments, one.best_fit, one.chi2_min, ("why",))
    assert not wrong.valid
    assert "NOT VALID: why" in str(wrong)
