"""Excluded couplings: structure per interaction, exactness of the ends, completeness."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from jcevns import INTERACTIONS, Likelihood, Theory, grid, grid_signals, interaction, limits, profile, signal
from jcevns.inference.batch import profile_signals
from jcevns.inference.limits import Limit
from tests import problems

MASSES = (1.0, 10.0, 100.0)
KEYS = {"xenonnt": (problems.XENONNT,), "pandax": (problems.PANDAX,), "combined": problems.BOTH}


@functools.cache
def found(name: str, data: str, dof: int = 1) -> list[Limit]:
    return limits(problems.joint(KEYS[data]), name, list(MASSES), dof=dof)


def chi2(likelihood: Likelihood, name: str, mass: float, coupling: float) -> float:
    theory = interaction(name, mass, coupling)
    if len(likelihood.names) == 1:
        fit = profile(likelihood, theory)
    else:  # the same without compiling for every class
        fit = problems._profile_signal(likelihood.model, signal(likelihood, theory))
    assert bool(fit.valid)
    return float(fit.chi2)


@pytest.mark.parametrize("data", ["xenonnt", "combined"])
def test_universal_vector_has_an_allowed_band(data) -> None:
    for limit in found("vector", data):
        (island_from, island_to), (above, end) = limit.excluded
        assert 0 < island_from < island_to < above
        assert end is None
        # At 1.77e-6 sqrt(P) the weak charge has flipped its sign, at one of the recoils seen: allowed.
        flipped = 1.77e-6 * np.sqrt(limit.mass**2 + 2 * 122300 * np.array([0.66e-3, 1.3e-3]))
        assert island_to < flipped[1]
        assert above > flipped[0]


def test_other_regions_are_one_interval() -> None:
    for name in INTERACTIONS:
        for data in KEYS:
            if name == "vector" and data != "pandax":
                continue
            for limit in found(name, data):
                ((start, end),) = limit.excluded
                assert start > 0, (name, data)
                assert end is None, (name, data)


def test_spin_dependent_limits_are_much_weaker() -> None:
    for data in KEYS:
        start = {name: found(name, data)[1].excluded[0][0] for name in INTERACTIONS}
        assert min(start["axial"], start["tensor"]) > 10 * max(start["scalar"], start["vector"])


@pytest.mark.parametrize("name", INTERACTIONS)
def test_ends_lie_on_the_threshold(name) -> None:
    for data in ("xenonnt", "combined"):
        likelihood = problems.joint(KEYS[data])
        for limit in found(name, data):
            assert limit.valid
            assert limit.threshold == pytest.approx(2.7055, abs=5e-5)
            call = functools.partial(chi2, likelihood, name, limit.mass)
            assert call(limit.best_fit) == pytest.approx(limit.chi2_min, abs=1e-8)
            level = limit.chi2_min + limit.threshold
            for interval in limit.excluded:
                for end, inwards in zip(interval, (1, -1), strict=True):
                    if end is None:
                        continue
                    assert call(end) == pytest.approx(level, abs=1e-6)
                    step = 1e-4 * inwards
                    assert call(end * (1 + step)) > level > call(end * (1 - step)), (name, data, limit.mass)


@pytest.mark.parametrize("name", INTERACTIONS)
def test_dense_scan_finds_the_same_intervals(name, likelihoods) -> None:
    coupling = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 20000)])
    for mass in (0.1, 300.0):
        (limit,) = limits(likelihoods["combined"], name, [mass])
        counts = grid_signals(likelihoods["combined"], grid(name, mass=[mass], coupling=coupling))
        fit = profile_signals(likelihoods["combined"], counts)
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


def test_confidence_level(likelihoods) -> None:
    (low,), (high,) = (limits(likelihoods["xenonnt"], "b-l", [10.0], cl=c) for c in (0.68, 0.99))
    assert low.threshold < 1 < 6.63 < high.threshold < 6.64
    assert low.excluded[0][0] < found("b-l", "xenonnt")[1].excluded[0][0] < high.excluded[0][0]


def test_a_mass_does_not_depend_on_its_neighbours(likelihoods) -> None:
    (alone,) = limits(likelihoods["combined"], "vector", [10.0])
    together = found("vector", "combined")[1]
    np.testing.assert_allclose(alone.excluded[0], together.excluded[0], rtol=1e-9)
    assert alone.chi2_min == pytest.approx(together.chi2_min, abs=1e-9)


def test_theory_with_another_flux(likelihoods) -> None:
    def half(mass, coupling):
        return Theory(interaction("scalar", mass, coupling), 2.73e6)

    (limit,) = limits(likelihoods["xenonnt"], half, [10.0])
    end = limit.excluded[0][0]
    fit = profile(likelihoods["xenonnt"], half(10.0, end))
    assert float(fit.chi2) == pytest.approx(limit.chi2_min + limit.threshold, abs=1e-6)
    assert end > found("scalar", "xenonnt")[1].excluded[0][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scalr", [1.0]), "unknown interaction 'scalr'"),
        (("scalar", []), "axis 'mass' is empty"),
        (("scalar", [1.0, np.nan]), "not finite"),
        (("scalar", [-1.0]), "must not be negative"),
        (("scalar", [1.0, 1.0]), "twice"),
        (("scalar", [1.0], 0.0), r"confidence level 0\.0 is outside"),
        (("scalar", [1.0], 1.0), r"confidence level 1\.0 is outside"),
        (("scalar", [1.0], 90.0), "give 0.90 for 90%"),
        (("scalar", [1.0], 0.9, 0), "dof 0 must be a whole number"),
    ],
)
def test_bad_arguments(arguments, message, likelihoods) -> None:
    with pytest.raises(ValueError, match=message):
        limits(likelihoods["xenonnt"], *arguments)


def test_failed_fits_count_unless_all_around_them_is_excluded() -> None:
    from jcevns.inference.limits import _harmless

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
        assert _harmless(np.array(above)) is harmless, above
