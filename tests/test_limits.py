"""Excluded couplings: structure per interaction, exactness of the ends, completeness."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from jcevns import Likelihood, interval, limits, profile
from jcevns.fit.curve import Survey
from jcevns.fit.surface import Surface
from jcevns.physics import NeutrinoFlux
from jcevns.physics.theories import MEDIATORS
from jcevns.statistics.limits import Limit
from tests import problems

MASSES = (1.0, 10.0, 100.0)
KEYS = {"xenonnt": (problems.XENONNT,), "pandax": (problems.PANDAX,), "combined": problems.BOTH}


@functools.cache
def likelihood(name: str, data: str) -> Likelihood:
    return problems.joint(KEYS[data]).under(name)


@functools.cache
def found(name: str, data: str, dof: int = 1) -> list[Limit]:
    return limits(likelihood(name, data), "coupling", over={"mass": list(MASSES)}, dof=dof)


def chi2(here: Likelihood, mass: float, coupling: float) -> float:
    fit = profile(here, {"mass": mass, "coupling": coupling})
    assert bool(fit.valid)
    return float(fit.chi2)


@pytest.mark.parametrize("data", ["xenonnt", "combined"])
def test_universal_vector_has_an_allowed_band(data) -> None:
    for limit in found("vector", data):
        (island_from, island_to), (above, end) = limit.excluded
        assert 0 < island_from < island_to < above
        assert end is None
        # At 1.77e-6 sqrt(P) the weak charge has flipped its sign, at one of the recoils seen: allowed.
        flipped = 1.77e-6 * np.sqrt(limit.at["mass"] ** 2 + 2 * 122300 * np.array([0.66e-3, 1.3e-3]))
        assert island_to < flipped[1]
        assert above > flipped[0]


def test_other_regions_are_one_interval() -> None:
    for name in MEDIATORS:
        for data in KEYS:
            if name == "vector" and data != "pandax":
                continue
            for limit in found(name, data):
                ((start, end),) = limit.excluded
                assert start > 0, (name, data)
                assert end is None, (name, data)


def test_spin_dependent_limits_are_much_weaker() -> None:
    for data in KEYS:
        start = {name: found(name, data)[1].excluded[0][0] for name in MEDIATORS}
        assert min(start["axial"], start["tensor"]) > 10 * max(start["scalar"], start["vector"])


@pytest.mark.parametrize("name", MEDIATORS)
def test_ends_lie_on_the_threshold(name) -> None:
    for data in ("xenonnt", "combined"):
        for limit in found(name, data):
            assert limit.valid
            assert limit.threshold == pytest.approx(2.7055, abs=5e-5)
            call = functools.partial(chi2, likelihood(name, data), limit.at["mass"])
            assert call(limit.best_fit) == pytest.approx(limit.chi2_min, abs=1e-8)
            level = limit.chi2_min + limit.threshold
            for ends in limit.excluded:
                for end, inwards in zip(ends, (1, -1), strict=True):
                    if end is None:
                        continue
                    assert call(end) == pytest.approx(level, abs=1e-6)
                    step = 1e-4 * inwards
                    assert call(end * (1 + step)) > level > call(end * (1 - step)), (name, data, limit.at)


@pytest.mark.parametrize("name", MEDIATORS)
def test_dense_scan_finds_the_same_intervals(name) -> None:
    coupling = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 20000)])
    for mass in (0.1, 300.0):
        (limit,) = limits(likelihood(name, "combined"), "coupling", over={"mass": [mass]})
        fit = Surface(likelihood(name, "combined"), "coupling", {"mass": mass}).evaluate(coupling[:, None])
        assert np.all(fit.valid)
        assert limit.chi2_min - 1e-9 < fit.chi2.min() < limit.chi2_min + 1e-4
        outside = fit.chi2 > limit.chi2_min + limit.threshold
        switch = np.flatnonzero(outside[1:] != outside[:-1])
        assert not outside[0]
        ends = [end for interval in limit.excluded for end in interval if end is not None]
        assert len(ends) == switch.size
        assert np.all((coupling[switch] <= ends) & (ends <= coupling[switch + 1]))
        assert outside[-1] == (limit.excluded[-1][1] is None)


def test_two_parameters_of_interest() -> None:
    for one, two in zip(found("scalar", "combined"), found("scalar", "combined", 2), strict=True):
        assert two.threshold == pytest.approx(4.6052, abs=5e-5)
        assert two.chi2_min == one.chi2_min
        assert two.excluded[0][0] > one.excluded[0][0]


def test_confidence_level() -> None:
    here = likelihood("b-l", "xenonnt")
    (low,), (high,) = (limits(here, "coupling", over={"mass": [10.0]}, cl=c) for c in (0.68, 0.99))
    assert low.threshold < 1 < 6.63 < high.threshold < 6.64
    assert low.excluded[0][0] < found("b-l", "xenonnt")[1].excluded[0][0] < high.excluded[0][0]


def test_a_mass_does_not_depend_on_its_neighbours() -> None:
    (alone,) = limits(likelihood("vector", "combined"), "coupling", over={"mass": [10.0]})
    together = found("vector", "combined")[1]
    np.testing.assert_allclose(alone.excluded[0], together.excluded[0], rtol=1e-9)
    assert alone.chi2_min == pytest.approx(together.chi2_min, abs=1e-9)


def test_at_another_flux() -> None:
    """Fixed at half of it: as with a flux of half the total whose constraint is gone."""
    here = likelihood("scalar", "xenonnt")
    (limit,) = limits(here, "coupling", over={"mass": [10.0]}, at={"flux": 2.73e6})
    end = limit.excluded[0][0]
    fit = profile(here, {"mass": 10.0, "coupling": end, "flux": 2.73e6})
    assert float(fit.chi2) == pytest.approx(limit.chi2_min + limit.threshold, abs=1e-6)
    assert end > found("scalar", "xenonnt")[1].excluded[0][0]

    def half(flux: NeutrinoFlux) -> NeutrinoFlux:
        return dataclasses.replace(flux, total=flux.total / 2, error=None)

    one = problems.built(problems.XENONNT)
    channel = dataclasses.replace(one.channels[0], flux=half(one.channels[0].flux))
    weaker = Likelihood(dataclasses.replace(one, channels=channel), "scalar")
    (other,) = limits(weaker, "coupling", over={"mass": [10.0]})
    assert other.excluded[0][0] == pytest.approx(end, rel=1e-8)


@pytest.mark.parametrize("name", ["scalar", "vector"])
def test_limits_of_any_parameter_are_intervals_at_each_place(name) -> None:
    """The mass at given couplings: accepted and excluded ranges share their ends, and fill the range."""
    here = likelihood(name, "combined")
    over = {"coupling": [1e-5, 5e-5]}
    for limit in limits(here, "mass", over=over):
        alone = interval(here, "mass", at=limit.at)
        assert limit.valid
        assert alone.valid
        np.testing.assert_allclose(np.array(limit.segments, float), np.array(alone.segments, float), rtol=1e-8)
        ends = [e for segment in (*limit.segments, *limit.excluded) for e in segment if e not in (None, 0.0)]
        assert sorted(ends) == pytest.approx(sorted(2 * [e for s in limit.segments for e in s if e is not None]))


def test_several_others_are_all_combinations() -> None:
    here = likelihood("vector", "xenonnt")
    masses, charges = [1.0, 10.0], [1.0, -1 / 3]
    every = limits(here, "coupling", over={"kappa": charges, "mass": masses})
    assert [limit.at for limit in every] == [{"kappa": k, "mass": m} for k in charges for m in masses]
    for k, limit in enumerate(every):
        name = "vector" if k < 2 else "b-l"
        (alone,) = limits(likelihood(name, "xenonnt"), "coupling", over={"mass": [limit.at["mass"]]})
        expected = np.array(alone.excluded, float)
        np.testing.assert_allclose(np.array(limit.excluded, float), expected, rtol=1e-6 if name == "b-l" else 1e-8)


def test_counted_from_the_lowest_of_all() -> None:
    here = likelihood("scalar", "combined")
    each, everywhere = (
        limits(here, "coupling", over={"mass": [1.0, 100.0]}, minimum=minimum) for minimum in ("each", "all")
    )
    least = min(limit.chi2_min for limit in each)
    for one, other in zip(each, everywhere, strict=True):
        assert other.chi2_min == pytest.approx(least, abs=1e-9)
        end = other.excluded[0][0]
        assert chi2(here, one.at["mass"], end) == pytest.approx(least + 2.7055, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "over", "options", "message"),
    [
        ("couplng", {"mass": [1.0]}, {}, "unknown parameter 'couplng'"),
        ("coupling", {"mas": [1.0]}, {}, r"unknown parameter 'mas' \(did you mean mass\?\)"),
        ("coupling", {"mass": []}, {}, "mass: give at least one value"),
        ("coupling", {"mass": [1.0, np.nan]}, {}, "mass .* must be finite"),
        ("coupling", {"mass": [-1.0]}, {}, r"mass .* is outside \[0, inf\] MeV"),
        ("coupling", {"coupling": [1.0]}, {}, "'coupling' is named twice"),
        ("coupling", {"mass": [1.0]}, {"at": {"mass": 1.0}}, "'mass' is both varied and fixed"),
        ("coupling", {"mass": [1.0]}, {"cl": 0.0}, r"confidence level 0\.0 is outside"),
        ("coupling", {"mass": [1.0]}, {"cl": 1.0}, r"confidence level 1\.0 is outside"),
        ("coupling", {"mass": [1.0]}, {"cl": 90.0}, "give 0.90 for 90%"),
        ("coupling", {"mass": [1.0]}, {"dof": 0}, "dof 0 must be a whole number"),
        ("coupling", {"mass": [1.0]}, {"minimum": "some"}, "minimum 'some' must be 'each'"),
    ],
)
def test_bad_arguments(name, over, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        limits(likelihood("scalar", "xenonnt"), name, over, **options)


def test_failed_fits_count_unless_all_around_them_is_excluded() -> None:
    nan = np.nan
    for above, harmless in (
        ([-1.0, 1.0, 200.0, nan, nan], True),
        ([-1.0, 200.0, nan, 200.0, 1.0], True),
        ([-1.0, 1.0], True),
        ([-1.0, nan, 200.0], False),
        ([-1.0, 200.0, nan, 1.0], False),
        ([nan, -1.0, 200.0], False),
        ([-1.0, nan, nan], False),
    ):
        x = np.arange(len(above), dtype=float)
        one = Survey(x, np.array(above), 0.0, np.inf, resolved=True)
        assert one.harmless(0.0) is harmless, above
