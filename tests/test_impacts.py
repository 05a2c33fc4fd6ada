"""Impacts and what a fit says of its nuisances, against iminuit on a chi2 written out in NumPy, and closed forms."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from iminuit import Minuit
from scipy import stats

import jcevns as jc
from jcevns import Likelihood, Nuisance, fit, impacts
from jcevns.fit.result import goodness
from jcevns.plot.impacts import plot_impacts
from jcevns.plot.profiles import plot_fit_correlation, plot_pulls
from tests.problems import FLUX, NOMINAL, counting

SIGNAL, FLAT = np.array([10.0, 15.0, 5.0]), np.array([18.0, 22.0, 20.0])
WIDTHS = {"efficiency": 0.2, "flat": 0.15}


def _experiment(observed, scale: float = 1.0, widths=WIDTHS):
    nuisances = (
        Nuisance("efficiency", widths["efficiency"], ("signal",)),
        Nuisance("flat", widths["flat"], ("flat",)),
    )
    return counting("small", list(observed), list(scale * SIGNAL), {"flat": scale * FLAT}, nuisances)


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    return Likelihood(_experiment([31.0, 42.0, 19.0]))


def _minuit(likelihood: Likelihood, fixed=None, free=()) -> Minuit:
    """Minimum over strength, efficiency, flat; of the fixed and the free ones the constraint is off."""
    counts, seen = np.asarray(jc.signal(likelihood)), np.asarray(likelihood.model.observed)
    off = {*(fixed or {}), *free}

    def chi2(strength, efficiency, flat):
        N = counts * strength * efficiency + FLAT * flat
        pulls = {"efficiency": (efficiency - 1) / 0.2, "flat": (flat - 1) / 0.15}
        return 2 * np.sum(N - seen + seen * np.log(seen / N)) + sum(p**2 for n, p in pulls.items() if n not in off)

    minuit = Minuit(chi2, strength=1.0, efficiency=1.0, flat=1.0)
    minuit.errordef, minuit.strategy, minuit.tol = 1, 2, 1e-7
    for name, value in (fixed or {}).items():
        minuit.values[name], minuit.fixed[name] = value, True
    minuit.migrad()
    minuit.hesse()
    assert minuit.valid
    return minuit


def test_covariance_and_pull_errors_are_those_of_iminuit(likelihood) -> None:
    found, minuit = fit(likelihood, "flux"), _minuit(likelihood)
    assert found.full_covariance.names == (FLUX, "small.efficiency", "small.flat")
    scale = np.array([NOMINAL, 1, 1])
    expected = np.array(minuit.covariance) * scale[:, None] * scale
    sizes = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(
        found.full_covariance.matrix / sizes[:, None] / sizes, expected / sizes[:, None] / sizes, atol=1e-3
    )
    # Nuisances profiled: the same number by another way.
    np.testing.assert_allclose(found.full_covariance.matrix[:1, :1], found.covariance, rtol=1e-9)
    assert found.full_covariance[FLUX, "small.flat"] == found.full_covariance.matrix[0, 2]
    assert found.full_covariance.correlation[1, 2] == pytest.approx(minuit.covariance.correlation()[1, 2], abs=1e-3)
    for name, width in WIDTHS.items():
        assert found.pulls[f"small.{name}"] == pytest.approx((minuit.values[name] - 1) / width, abs=1e-4)
        assert found.pull_errors[f"small.{name}"] == pytest.approx(minuit.errors[name] / width, rel=1e-3)
    with pytest.raises(ValueError, match="covariance is of"):
        found.full_covariance["flat", FLUX]


def test_a_nuisance_is_fixed_freed_or_measured_as_asked(likelihood) -> None:
    fixed, other = fit(likelihood, "flux", at={"flat": 1.1}), _minuit(likelihood, {"flat": 1.1})
    assert fixed.values[FLUX] / NOMINAL == pytest.approx(other.values["strength"], rel=1e-5)
    assert fixed.chi2_min == pytest.approx(other.fval, abs=1e-6)
    assert (tuple(fixed.pulls), fixed.fixed) == (("small.efficiency",), {"small.flat": 1.1})
    free = _minuit(likelihood, free=["flat"])
    freed = fit(likelihood, "flux", profiled="flat")
    both = fit(likelihood, ("flux", "flat"), errors=False)
    for found in (freed, both):
        assert found.values[FLUX] / NOMINAL == pytest.approx(free.values["strength"], rel=1e-4)
        assert found.chi2_min == pytest.approx(free.fval, abs=1e-6)
        assert found.hesse[FLUX] / NOMINAL == pytest.approx(free.errors["strength"], rel=1e-3)
        assert tuple(found.pulls) == ("small.efficiency",)
    assert freed.profiled["small.flat"] == pytest.approx(free.values["flat"], rel=1e-4)
    assert both.values["small.flat"] == pytest.approx(free.values["flat"], rel=1e-4)
    assert both.goodness.degrees == freed.goodness.degrees == 1
    kept = fit(likelihood, ("flux", "flat"), constrained="flat", errors=False)
    assert kept.pulls["small.flat"] == pytest.approx(fit(likelihood, "flux").pulls["small.flat"], abs=1e-6)


@pytest.mark.parametrize("errors", ["covariance", "profile"])
def test_impacts_are_the_shifts_of_explicit_refits(likelihood, errors) -> None:
    found, best = impacts(likelihood, "flux", errors=errors), _minuit(likelihood)
    assert found.valid
    assert [one.nuisance for one in found.ranked] == ["small.efficiency", "small.flat"]
    best.minos(cl=1) if errors == "profile" else None
    for name, width in WIDTHS.items():
        one, value = found[name], best.values[name]
        down = up = best.errors[name]
        if errors == "profile":
            down, up = -best.merrors[name].lower, best.merrors[name].upper
        assert (one.down, one.up) == pytest.approx((down, up), rel=2e-3)
        assert (one.pull_down, one.pull_up) == pytest.approx((down / width, up / width), rel=2e-3)
        assert one.pull == pytest.approx((value - 1) / width, abs=1e-4)
        places = (1 - width, 1 + width, value - down, value + up)
        shifts = [_minuit(likelihood, {name: p}).values["strength"] - best.values["strength"] for p in places]
        own = np.array([one.prefit_down, one.prefit_up, one.postfit_down, one.postfit_up]) / NOMINAL
        np.testing.assert_allclose(own, shifts, rtol=2e-3, atol=1e-5)


def test_impacts_of_many_counts_are_covariance_over_width() -> None:
    scale, widths = 1e6, {"efficiency": 1e-4, "flat": 5e-4}
    trial = Likelihood(_experiment(scale * (SIGNAL + FLAT), scale, widths))
    counts = np.asarray(jc.signal(trial))
    data = Likelihood(_experiment(np.round(counts + scale * FLAT), scale, widths))
    slopes = np.stack([counts, counts, scale * FLAT], axis=1)  # in strength, efficiency, flat
    information = slopes.T @ (slopes / (counts + scale * FLAT)[:, None])
    information += np.diag([0, *(w**-2 for w in widths.values())])
    covariance = np.linalg.inv(information)
    found = impacts(data, "flux")
    for k, name in enumerate(widths, 1):
        post = covariance[0, k] / np.sqrt(covariance[k, k])
        pre = covariance[0, k] / covariance[k, k] * widths[name]
        one = found[name]
        own = np.array([one.postfit_up, -one.postfit_down, one.prefit_up, -one.prefit_down]) / NOMINAL
        np.testing.assert_allclose(own, [post, post, pre, pre], rtol=5e-3)
        assert one.pull_up == pytest.approx(np.sqrt(covariance[k, k]) / widths[name], rel=1e-3)


def test_shapes_have_impacts_as_their_correlations_say() -> None:
    """They had none: a shape that a refit held moved back to the best fit."""
    found = impacts("xenonnt-2024", "flux")
    best = fit("xenonnt-2024", "flux")
    full = best.full_covariance
    for name in ("xenonnt-2024.t_ly", "xenonnt-2024.t_qy"):
        one = found[name]
        assert one.postfit_up < 0 < one.postfit_down  # more light, fewer neutrinos
        linear = -full["flux.b8", name] / full.errors[name]
        assert (one.postfit_down - one.postfit_up) / 2 == pytest.approx(linear, rel=0.15)


def test_a_coupling_at_zero_moves_as_a_fit_of_its_own_does() -> None:
    """It enters as a square: at zero no slope tells where the minimum goes."""
    likelihood = Likelihood("xenonnt-2024-s2", "scalar")
    found = impacts(likelihood, "coupling", at={"mass": 10.0})
    one = found["accidental"]
    for place, shift in ((one.value - one.down, one.postfit_down), (one.value + one.up, one.postfit_up)):
        again = fit(likelihood, "coupling", at={"mass": 10.0, "accidental": place}, errors=False)
        assert shift == pytest.approx(again.values["coupling"] - found.best_fit, abs=1e-9)
    assert one.postfit_up == -found.best_fit  # the coupling has gone to zero


def test_impacts_print_draw_and_export(likelihood) -> None:
    found = impacts(likelihood, "flux")
    lines = str(found).splitlines()
    assert lines[0].startswith("impacts on flux.b8 =")
    assert "small.efficiency" in lines[2]
    drawn = plot_impacts(found)
    assert [bar.get_width() for bar in drawn.postfit[1]] == pytest.approx([o.postfit_up / 1e6 for o in found.ranked])
    assert [t.get_text() for t in drawn.ax.get_yticklabels()] == ["small.efficiency", "small.flat"]
    assert len(plot_impacts(found, most=1).prefit[0]) == 1
    content = json.loads(found.to_json())
    assert content["ranked"][0]["postfit_up"] == found.ranked[0].postfit_up
    assert found.to_csv().splitlines()[1].split(",")[2] == "small.efficiency"
    with pytest.raises(ValueError, match="no impact is of 'beta'"):
        found["beta"]


def test_impacts_refuse_what_they_cannot_do(likelihood) -> None:
    with pytest.raises(ValueError, match="'covariance' or 'profile'"):
        impacts(likelihood, "flux", errors="minos")
    with pytest.raises(ValueError, match="not among the parameters"):
        impacts(likelihood, "flux", constrained="flat")
    bare = counting("bare", [3, 2, 6], [2.0, 1.0, 3.0], {"flat": [1.0, 1.0, 2.0]}, (), error=None)
    with pytest.raises(ValueError, match="no parameter with a constraint"):
        impacts(bare, "sin2w")
    with pytest.raises(ValueError, match="most 0"):
        plot_impacts(impacts(likelihood, "flux"), most=0)


def test_goodness_is_the_tail_of_chi2_and_says_when_counts_are_low(likelihood) -> None:
    found = fit(likelihood, "flux").goodness
    assert (found.bins, found.degrees, found.trusted) == (3, 2, True)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.chi2, 2), rel=1e-12)
    few = goodness(4.0, np.array([0.3, 4.0, 9.0, 20.0]), 1)
    assert (few.low, few.trusted) == (2, False)
    assert "NOT to be trusted: 2 bins expect fewer than 5" in str(few)
    assert goodness(1.0, np.array([9.0]), 1).p_value is None


def test_a_fit_says_what_lies_in_another_part_and_on_a_bound(likelihood) -> None:
    vector = fit(Likelihood("xenonnt-2024-s2", "vector"), "coupling", at={"mass": 10.0})
    assert any("another part at 90% holds the value without signal, coupling = 0" in note for note in vector.notes)
    assert "another part at 90%" in vector._repr_html_()
    assert "[open, 1.09e-05] and [3.13e-05, 3.97e-05]" in vector._repr_html_()
    none = dataclasses.replace(jc.experiment("xenonnt-2024-s2"), observed=np.zeros(3))
    empty = fit(none, "sin2w")
    assert empty.at_bound == ("sin2w",)
    text = repr(empty) + empty._repr_html_()
    for words in ("sin2w (at bound)", "sin2w ended on a bound", "the model does not describe the data"):
        assert words in text
    flat = (Nuisance("flat", 0.3, ("flat",)),)
    heavy = fit(counting("heavy", [12.0, 200.0], [5.0, 0.01], {"flat": [5.0, 10.0]}, flat, error=None), "sin2w")
    assert heavy.pulls["heavy.flat"] > 5
    assert f"heavy.flat is pulled by {heavy.pulls['heavy.flat']:+.1f} sigma" in heavy.notes


def test_pulls_and_correlations_are_drawn_with_nuisances(likelihood) -> None:
    found = fit(likelihood, "flux")
    points = plot_pulls(found)
    assert points.get_xdata() == pytest.approx(list(found.pulls.values()))
    (bars,) = (c for c in points.axes.collections if hasattr(c, "get_segments"))
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(np.diff(ends, axis=1)[:, 0] / 2, list(found.pull_errors.values()))
    image = plot_fit_correlation(found, nuisances=True)
    np.testing.assert_allclose(image.get_array(), found.full_covariance.correlation)
