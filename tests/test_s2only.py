"""XENONnT's S2-only likelihood against an independent one in NumPy and iminuit, and against published numbers."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.datasets import read_table
from tests import reference_s2only as ref

RELEASED = {"flux": "release", "template": "released"}
RISE = 2.705543454095404  # 90%, one parameter
EVENTS_8B = (20.6, 29.4, 32.3)


@cache
def released(run: str = "all") -> jc.Likelihood:
    return jc.Likelihood(jc.experiment(ref.NAME, run=run, **RELEASED))


@cache
def b8_released() -> np.ndarray:
    return ref.at_exposure(ref.pack()["b8_at_5p25e6"])


def neutrino_rate(total: float, shape: str = "bahcall1996"):
    flux = jc.physics.b8(shape, total=total)
    return lambda T: np.asarray(
        jc.physics.recoil_spectrum(jc.StandardModel(), flux, jc.physics.xenon(), jnp.asarray(T))
    )


def points(likelihood: ref.S2Only, count: int, seed: int) -> list[np.ndarray]:
    """Random values of all parameters inside their bounds, on both sides of nominal."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        step = (
            1.5
            * np.where(np.isfinite(likelihood.width), likelihood.width, 1.0)
            * rng.standard_normal(likelihood.width.size)
        )
        low, high = np.array(likelihood.bounds).T
        found.append(np.clip(likelihood.nominal + step, low, high))
    return found


def named(likelihood: ref.S2Only, x: np.ndarray, flux: float, strength: bool = False) -> dict[str, float]:
    """Values by the names that jcevns has for them."""
    values = dict(zip(likelihood.names, map(float, x), strict=True))
    mu, b8 = values.pop("mu"), values.pop("b8")
    own = {f"{ref.NAME}.{n}": v for n, v in values.items()}
    return own | {"flux.b8": b8 * flux} | ({"strength": mu} if strength else {})


# Tables and templates ------------------------------------------------------------------------------------------


def test_counts_and_expected_events() -> None:
    found = released()
    (one,) = found.experiments
    assert np.asarray(one.observed).reshape(3, 7).sum(axis=1).tolist() == [583, 864, 1107]
    signal = np.asarray(jc.signal(found, {"flux": ref.TEMPLATE_FLUX})).reshape(28, 3, 21)[3]  # (source, bin)
    for run in range(3):
        own = signal[run].reshape(3, 7)
        assert own[run].sum() == pytest.approx(EVENTS_8B[run], rel=3e-3)
        assert not np.any(np.delete(own, run, axis=0))  # the source of a run has counts there alone
    assert not any(name.startswith("accidentals_sr2") for name in one.backgrounds)
    for run in ref.RUNS:  # the shape of the cathode moves events between bins, and makes none
        moved = np.asarray(one.backgrounds[f"cathode_{run}"]).sum(axis=1)
        np.testing.assert_allclose(moved, moved[0], rtol=1e-9)


def test_signal_folds_through_the_response() -> None:
    mine = np.asarray(jc.signal_counts(jc.experiment(ref.NAME), jc.StandardModel()))[:7].reshape(7, 3, 7)
    # Two nodes between energies of the table against twelve: what the spectrum's curvature is worth.
    for order, tolerance in ((2, 1e-9), (12, 2e-5)):
        exact = np.moveaxis(ref.fold(neutrino_rate(5.46e6), order), 0, 1)
        np.testing.assert_allclose(mine, exact, rtol=tolerance)


def test_folded_and_released_8b_differ_below_the_response() -> None:
    folded = ref.fold(neutrino_rate(ref.TEMPLATE_FLUX))
    ratio = folded.sum(axis=2) / b8_released().sum(axis=2)
    np.testing.assert_allclose(ratio[:, 3], [0.983, 0.985, 0.994], atol=2e-3)  # recoils below 0.5 keV are missing
    assert np.all(np.diff(ratio[:, 2:], axis=1) < 0)  # and more of them are seen the higher the charge yield


# The likelihood ------------------------------------------------------------------------------------------------


def test_chi2_is_that_of_the_release_at_random_points() -> None:
    independent = ref.S2Only(b8_released())
    for x in points(independent, 12, 1):
        ours = float(jc.chi2(released(), named(independent, x, ref.TEMPLATE_FLUX)))
        assert ours == pytest.approx(independent.chi2(x), abs=1e-6)


def test_chi2_with_a_recoil_spectrum_and_the_flux_of_the_solar_model() -> None:
    energies = np.linspace(0.4, 5.1, 400)
    spectrum = jc.TabulatedSpectrum(energies, ref.wimp_rate(energies, 6.0, 1e-45))
    table = lambda T: np.interp(T, energies, np.asarray(spectrum.rate))  # noqa: E731
    independent = ref.S2Only(ref.fold(neutrino_rate(5.46e6)), ref.fold(table), b8_width=0.12)
    likelihood = jc.Likelihood(ref.NAME, jc.StandardModel() + spectrum)
    for x in points(independent, 12, 2):
        x[0] = abs(x[0])
        ours = float(jc.chi2(likelihood, named(independent, x, 5.46e6, strength=True)))
        assert ours == pytest.approx(independent.chi2(x), abs=1e-6)


@pytest.mark.slow
def test_8b_strength_and_its_limit() -> None:
    (limit,) = jc.limits(released(), "flux")
    assert limit.valid
    independent = ref.S2Only(b8_released(), b8_width=np.inf)
    lowest, best = independent.minimum()
    assert best["b8"] == 0.0
    assert limit.best_fit == 0.0
    assert limit.chi2_min == pytest.approx(lowest, abs=1e-6)
    mu = limit.upper / ref.TEMPLATE_FLUX
    assert mu == pytest.approx(0.95, abs=5e-3)
    assert independent.minimum(b8=mu)[0] - lowest == pytest.approx(RISE, abs=1e-4)


@pytest.mark.slow
def test_cost_of_the_standard_model() -> None:
    found = jc.profile(released(), {"flux": ref.TEMPLATE_FLUX})
    independent = ref.S2Only(b8_released(), b8_width=np.inf)
    lowest = independent.minimum()[0]
    assert bool(found.valid)
    assert float(found.chi2) == pytest.approx(independent.minimum(b8=1.0)[0], abs=1e-6)
    assert float(found.chi2) - lowest == pytest.approx(2.86, abs=5e-3)
    # With the released width the flux takes little of it; with that of the solar model a little more.
    for width, cost in ((0.0381, 2.858), (0.12, 2.823)):
        constrained = ref.S2Only(b8_released(), b8_width=width)
        assert constrained.minimum()[0] - lowest == pytest.approx(cost, abs=2e-3)


def test_first_run_by_itself() -> None:
    found = jc.fit(released("sr0"), "flux")
    lowest, best = ref.S2Only(b8_released(), b8_width=np.inf, runs=("sr0",)).minimum()
    assert found.valid
    strength = found.values["flux.b8"] / ref.TEMPLATE_FLUX
    assert strength == pytest.approx(best["b8"], rel=1e-4)
    assert strength == pytest.approx(0.70, rel=0.03)
    assert found.chi2_min == pytest.approx(lowest, abs=1e-6)


# WIMPs ---------------------------------------------------------------------------------------------------------


def test_a_wimp_spectrum_folds_to_its_template() -> None:
    folded = ref.fold(lambda T: ref.wimp_rate(T, 6.0, 1e-45))
    np.testing.assert_allclose(folded[:, 3], ref.at_exposure(ref.pack()["wimp_si_6GeV_1e45"])[:, 3], rtol=0.01)


@pytest.mark.slow
def test_wimp_limit_in_units_of_the_template() -> None:
    energies = np.linspace(0.45, 5.05, 461)
    spectrum = jc.TabulatedSpectrum(energies, ref.wimp_rate(energies, 6.0, 1e-45))
    likelihood = jc.Likelihood(jc.experiment(ref.NAME, run="all", **RELEASED), jc.StandardModel() + spectrum)
    (limit,) = jc.limits(likelihood, "strength")
    assert limit.valid
    template = ref.at_exposure(ref.pack()["wimp_si_6GeV_1e45"])
    folded = np.asarray(jc.signal(likelihood, {"strength": 1.0})).reshape(28, 6, 21)[3, 3:].sum()
    assert limit.upper * folded / template[:, 3].sum() == pytest.approx(3.0, rel=0.05)
    independent = ref.S2Only(b8_released(), template)
    lowest, best = independent.minimum()
    assert best["mu"] == 0.0
    assert independent.minimum(mu=limit.upper * folded / template[:, 3].sum())[0] - lowest == pytest.approx(
        RISE, abs=0.02
    )
    # The published limit at this mass sits on its power constraint: the data alone exclude more.
    table = read_table("xenonnt_s2only_2026_limits")
    (row,) = np.flatnonzero((table["model"] == "wimp_si") & (table["mass_GeV"] == 6.0))
    assert table["limit_cm2"][row] == pytest.approx(table["minus_1_sigma_cm2"][row], rel=1e-6)
    assert limit.upper * 1e-45 < table["limit_cm2"][row]


@pytest.mark.slow
def test_limit_of_a_wimp_with_a_light_mediator() -> None:
    """A mediator of 1 MeV, at a mass where neither limit is on its power constraint: published 1.77e-40 cm^2."""
    energies = np.linspace(0.45, 7.5, 706)
    q2 = 2 * 131.3 * 931.494 * energies * 1e-3  # MeV^2
    spectrum = jc.TabulatedSpectrum(energies, ref.wimp_rate(energies, 12.0, 1e-40) / (1 + q2) ** 2)
    likelihood = jc.Likelihood(jc.experiment(ref.NAME, run="all", **RELEASED), jc.StandardModel() + spectrum)
    (limit,) = jc.limits(likelihood, "strength")
    assert limit.valid
    table = read_table("xenonnt_s2only_2026_limits")
    (row,) = np.flatnonzero((table["model"] == "wimp_si_light_mediator") & (table["mass_GeV"] == 12.0))
    assert table["limit_cm2"][row] > 1.2 * table["minus_1_sigma_cm2"][row]
    assert limit.upper * 1e-40 == pytest.approx(table["limit_cm2"][row], rel=0.05)


# Combination ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["xenonnt-2026", "xenonnt-2024", "xenonnt-2024-s2"])
def test_other_searches_in_the_same_runs_are_refused_unless_disjoint(other) -> None:
    message = r"are of the same runs \(XENONnT SR0, .*whether they share events is not stated.*disjoint=yes"
    for pair in ([ref.NAME, other], [other, ref.NAME]):
        with pytest.raises(ValueError, match=message):
            jc.Likelihood(pair)
    joint = jc.Likelihood([other, f"{ref.NAME}:disjoint=yes"])
    assert "flux.b8" in joint.nuisances
    assert any("STATED BY THE USER" in note for note in joint.experiments[1].notes)
    with pytest.raises(ValueError, match=r"hold the same events|are of the same runs"):
        jc.Likelihood([jc.experiment(ref.NAME, disjoint="yes"), _renamed(jc.experiment(ref.NAME, disjoint="yes"))])


def _renamed(built: jc.Experiment) -> jc.Experiment:
    return dataclasses.replace(built, name="again")


@pytest.mark.parametrize("option", ["flux", "template", "run", "disjoint"])
def test_unknown_options(option) -> None:
    with pytest.raises(ValueError, match=f"xenonnt-s2only-2026: unknown {option} 'other': choose from"):
        jc.experiment(ref.NAME, **{option: "other"})
