"""Borexino phase II: three correlated rates, against NumPy; what it says about fluxes, couplings, moments, NSI."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

import jcevns as jc
from jcevns.datasets import card, read_table
from jcevns.experiments.gaussian import gaussian_bins
from tests import reference_borexino as rb
from tests import reference_complementary as ref
from tests import reference_nsi

NAMES = ("pp", "pep", "be7")
PUBLISHED = {"pp": (134.0, 12.0), "pep": (2.43, 0.41), "be7": (48.3, 1.2)}  # errors in quadrature, sides averaged


@cache
def likelihood(theory: str = "standard-model", above_keV: float = 190.0) -> jc.Likelihood:
    return jc.Likelihood(jc.experiment("borexino-phase2", above_keV=above_keV), theory)


def measured(theory: jc.Interaction, above_keV: float = 190.0) -> np.ndarray:
    """Rates of a theory in the units of the publication: counts over counts per unit."""
    (one,) = likelihood(above_keV=above_keV).experiments
    scale = (np.asarray(one.observed) - [np.asarray(one.backgrounds[n]).sum() for n in NAMES]) / rb.MEASURED
    return np.asarray(jc.signal_counts(one, theory)) / scale


# Data and Gaussian ----------------------------------------------------------------------------------------------


def test_table() -> None:
    table = read_table("borexino_phase2_rates")
    assert tuple(table["component"]) == NAMES
    np.testing.assert_array_equal(table["rate"], rb.MEASURED)
    np.testing.assert_array_equal([table[f"inverse_{n}"] for n in NAMES], rb.INVERSE)
    assert card("borexino_phase2_rates").status == "published"
    # The covariance of others beside the errors of the publication.
    own = np.sqrt(np.diag(np.linalg.inv(rb.INVERSE)))
    np.testing.assert_allclose(own, [PUBLISHED[n][1] for n in NAMES], rtol=0.09)


def test_electrons_of_the_scintillator() -> None:
    """Pseudocumene, C9H12: 66 electrons in 120.19 g."""
    per_molecule = rb.ELECTRONS * 120.19 / 6.02214076e23 / 1e8
    assert per_molecule == pytest.approx(66, rel=1e-4)


CASES = [
    np.linalg.inv(rb.INVERSE),
    np.array([[4.0, -1.5], [-1.5, 1.0]]),
    np.diag([1.0, 25.0, 0.01]),
    np.array([[2.0, 0.3, -0.4, 0.1], [0.3, 1.0, 0.2, 0.0], [-0.4, 0.2, 5.0, -1.0], [0.1, 0.0, -1.0, 3.0]]),
]


@pytest.mark.parametrize("covariance", CASES, ids=["borexino", "negative", "diagonal", "four"])
def test_bins_have_the_covariance(covariance) -> None:
    """Roots of the counts, and what the nuisances move, add up to it; none where nothing is correlated."""
    size = len(covariance)
    names = tuple("abcd"[:size])
    values = np.arange(1.0, size + 1)
    bins = gaussian_bins(names, values, covariance)
    below = sum(bins.backgrounds.values())
    np.testing.assert_allclose(below + bins.scale * values, bins.observed, rtol=1e-12)
    total = np.diag(bins.observed)
    for nuisance in bins.nuisances:
        moved = np.array([nuisance.sigma * nuisance.power(n) for n in names]) * below
        total = total + np.outer(moved, moved)
    np.testing.assert_allclose(total / np.outer(bins.scale, bins.scale), covariance, rtol=1e-9, atol=1e-12)
    diagonal = np.count_nonzero(covariance) == size
    assert len(bins.nuisances) == (0 if diagonal else size - 1)


def test_bins_that_cannot_be() -> None:
    for bad in (
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.0], [0.5, 1.0]],
        [[0.0, 0.0], [0.0, 1.0]],
        [[np.nan, 0], [0, 1.0]],
    ):
        with pytest.raises(ValueError, match="not symmetric and positive definite"):
            gaussian_bins(("a", "b"), [1.0, 2.0], np.array(bad))
    with pytest.raises(ValueError, match=r"2 names, values of shape \(1,\)"):
        gaussian_bins(("a", "b"), [1.0], np.eye(2))
    with pytest.raises(ValueError, match="standard deviations from zero"):
        gaussian_bins(("a", "b"), [1e5, 1.0], np.eye(2))


def test_chi2_is_that_of_the_gaussian() -> None:
    """Along each rate and together, up to four standard deviations: to 2e-3, and 3e-4 of chi2."""
    base, default = rb.rates(), [rb.FLUXES[n][0] for n in NAMES]
    errors = np.sqrt(np.diag(np.linalg.inv(rb.INVERSE)))
    for away in ([0, 0, 0], [1, 0, 0], [0, -2, 0], [0, 0, 4], [-3, 1, 2], [2, 2, -2]):
        rates = rb.MEASURED + errors * away
        at = {f"flux.{n}": f * r / b for n, f, r, b in zip(NAMES, default, rates, base, strict=True)}
        found = jc.profile(likelihood(), at)
        expected = (rates - rb.MEASURED) @ rb.INVERSE @ (rates - rb.MEASURED)
        assert found.valid
        assert float(found.chi2) == pytest.approx(expected, abs=2e-3, rel=3e-4)


# Rates ----------------------------------------------------------------------------------------------------------


def test_standard_model_rates() -> None:
    """By NumPy to 2e-4, whatever the threshold; and those of the collaboration's simulation (arXiv:2005.12829)."""
    for above in (1.0, 50.0, 190.0):
        np.testing.assert_allclose(measured(jc.StandardModel(), above), rb.rates(above=above), rtol=2e-4)
    for name, simulated in {"pp": 131.1, "be7": 47.9, "pep": 2.74, "cno": 4.92}.items():
        assert rb.rate(name) == pytest.approx(simulated, rel=0.007)


def test_flux_of_beryllium() -> None:
    """7Be free, pp and pep as the solar model has them: best fit and error by NumPy; the rate as published."""
    found = jc.fit(likelihood(), "flux.be7")
    assert found.valid
    rates, default = rb.rates(), rb.FLUXES["be7"][0]
    model = rates * [rb.FLUXES[n][1] for n in NAMES]
    inverse = np.linalg.inv(np.linalg.inv(rb.INVERSE) + np.diag([*model[:2] ** 2, 0.0]))
    # Minimum of a quadratic form in the rate of 7Be with the others where the model has them.
    others = rates[:2] - rb.MEASURED[:2]
    best = rb.MEASURED[2] - inverse[2, :2] @ others / inverse[2, 2]
    per_flux = rates[2] / default
    assert found.values["flux.be7"] * per_flux == pytest.approx(best, abs=3e-3)
    down, up = found.errors["flux.be7"]
    assert [down * per_flux, up * per_flux] == pytest.approx([inverse[2, 2] ** -0.5] * 2, rel=3e-3)
    assert best == pytest.approx(48.3, abs=1.2)


def test_published_rates_are_allowed_together() -> None:
    """The solar model and the Standard Model beside all three: chi2 0.65."""
    assert float(jc.profile(likelihood()).chi2) == pytest.approx(rb.phase2_chi2(rb.rates()), abs=2e-3)


def test_fluxes_are_those_of_the_solar_model() -> None:
    table = read_table("solar_fluxes_b16")
    for model in ("gs98", "agss09met"):
        by = dict(zip(table["source"], table[f"{model}_cm2_s"], strict=True))
        error = dict(zip(table["source"], table[f"{model}_relative_error"], strict=True))
        for name, source in {"pp": "pp", "pep": "pep", "be7": "7Be"}.items():
            record = jc.physics.solar_component(name, model).parameter
            assert record.default == pytest.approx(by[source], rel=1e-12)
            assert record.sigma == pytest.approx(by[source] * error[source], rel=1e-12)
        cno = jc.physics.solar_component("cno", model).parameter
        assert cno.default == pytest.approx(by["13N"] + by["15O"] + by["17F"], rel=1e-12)
        assert cno.sigma == pytest.approx(sum(by[s] * error[s] for s in ("13N", "15O", "17F")), rel=1e-12)
    with pytest.raises(ValueError, match="part of the solar neutrinos 'hep'"):
        jc.physics.solar_component("hep")
    with pytest.raises(ValueError, match="solar model 'b16'"):
        jc.physics.solar_component("pp", "b16")


# Theories -------------------------------------------------------------------------------------------------------


def upper(chi2, far: float, threshold: float = 2.7055) -> float:
    """Where chi2 has risen from its lowest value, which need not be that at zero."""
    found = minimize_scalar(chi2, bounds=(0.0, far / 2), method="bounded")
    return brentq(lambda x: chi2(x) - min(found.fun, chi2(0.0)) - threshold, found.x, far, xtol=1e-6 * far)


def test_weak_mixing_angle() -> None:
    """0.239 +0.030 -0.044; the interval by NumPy."""

    def chi2(s):
        return rb.phase2_chi2(rb.rates(lambda E, T, f: ref.electron(E, T, f, s)))

    grid = np.linspace(0.15, 0.3, 61)
    best = grid[np.argmin([chi2(s) for s in grid])]
    found = jc.interval(likelihood(), "sin2w", 0.6827)
    assert found.valid
    low, high = found.main
    lowest = min(chi2(s) for s in np.linspace(best - 0.003, best + 0.003, 31))
    assert chi2(low) - lowest == pytest.approx(1.0, abs=0.01)
    assert chi2(high) - lowest == pytest.approx(1.0, abs=0.01)


def moment_chi2(mu: float, above: float) -> float:
    return rb.phase2_chi2(rb.rates(lambda E, T, f: ref.with_mediator("moment", E, T, f, 0.0, mu), above))


def test_magnetic_moment() -> None:
    """By NumPy to 0.3%: 3.45e-11 mu_B from the rates. Published from the spectrum and gallium: 2.8e-11."""
    found = jc.interval(likelihood("magnetic-moment"), "moment").upper
    assert found == pytest.approx(upper(lambda m: moment_chi2(m, 190.0), 80.0), rel=3e-3)
    assert found == pytest.approx(34.5, rel=0.01)


def test_magnetic_moment_below_the_threshold_is_nobodys() -> None:
    """Integrals to zero energy would set a limit three times as strong by events that were not looked for."""
    found = jc.interval(likelihood("magnetic-moment", 1.0), "moment").upper
    assert found == pytest.approx(upper(lambda m: moment_chi2(m, 1.0), 40.0), rel=3e-3)
    assert found < 0.4 * 34.5


def test_light_mediator() -> None:
    """Universal vector at 0.01 and 10 MeV: the upper end of what is allowed, by NumPy."""
    for one, mass in zip(
        jc.limits(likelihood("vector"), "coupling", over={"mass": [1e-2, 10.0]}), (1e-2, 10.0), strict=True
    ):
        assert one.valid

        def chi2(g, mass=mass):
            return rb.phase2_chi2(rb.rates(lambda E, T, f: ref.with_mediator("vector", E, T, f, mass, g)))

        edge = one.excluded[-1][0]
        lowest = min(chi2(g) for g in np.linspace(0.0, 1.2 * edge, 61))
        assert chi2(edge) - lowest == pytest.approx(2.7055, abs=0.03)


def nsi_cross(eps_left: np.ndarray, eps_right: np.ndarray):
    """Tr[rho dsigma] for matrices of couplings to electrons; sums over flavours are inside."""
    chirals = [ref.chiral(f, 0.23857, False) for f in ("e", "mu", "tau")]
    left = np.diag([c[0] for c in chirals]) + eps_left
    right = np.diag([c[1] for c in chirals]) + eps_right

    def trace(rho, a, b):
        return np.einsum("...ab,bc,ac->...", rho, a, b.conj()).real

    def cross(rho, E, T):
        mixed = (trace(rho, left, right) + trace(rho, right, left)) / 2
        both = trace(rho, left, left) + trace(rho, right, right) * (1 - T / E) ** 2 - mixed * ref.ME * T / E**2
        return 2 * ref.FERMI**2 * ref.ME / np.pi * both

    return cross


NSI = ({}, {"eps_eL_ee": 0.2}, {"eps_eR_tautau": -0.3}, {"eps_eL_etau": 0.15, "eps_eR_etau": 0.15}, {"eps_u_ee": 0.3})


@pytest.mark.parametrize("eps", NSI, ids=lambda e: "-".join(e) or "none")
def test_nsi(eps) -> None:
    """Rates of pep and 7Be, by day, with the matter effect of the same couplings in the Sun; by NumPy to 3e-4."""
    theory = jc.theory("nsi:earth=day")
    theory = type(theory)(**eps, earth="day")
    own = reference_nsi.matrices(**eps)
    cross, standard = nsi_cross(own["eL"], own["eR"]), rb.rates()
    predicted = measured(theory)
    for k, name in ((1, "pep"), (2, "be7")):
        lines = read_table("solar_lines")
        mine = lines["source"] == name
        scale = standard[k] / rb.rate(name, 190.0)
        rho = reference_nsi.day(lines["energy_MeV"][mine], name, eps)
        total = 0.0
        for one, E, share in zip(rho, lines["energy_MeV"][mine], lines["branching"][mine], strict=True):
            end = 2 * E**2 / (2 * E + ref.ME)
            T = np.linspace(0.19, end, 2001)
            total += share * np.trapezoid(cross(one, E, T), T) * 1e3
        flux = rb.FLUXES[name][0]
        assert predicted[k] == pytest.approx(scale * flux * rb.PER_DAY_100T_KEV * total, rel=5e-4)


@pytest.mark.slow
def test_nsi_interval() -> None:
    """With the neutrinos' propagation and no code of its own: zero is inside."""
    found = jc.interval(likelihood("nsi:earth=day"), "eps_eL_ee")
    assert found.valid
    assert any(low < 0 < high for low, high in found.segments)


def test_charge_radius() -> None:
    """A shift of g_V by 0.0238 per 1e-32 cm^2, of nu_e alone."""
    shift = 5 * 0.023796

    def cross(E, T, f):
        return ref.electron(E, T, f, vector=shift if f == "e" else 0.0)

    np.testing.assert_allclose(measured(jc.ChargeRadius(r2_ee=5.0)), rb.rates(cross), rtol=3e-4)


# Record ---------------------------------------------------------------------------------------------------------


def test_what_it_says_of_itself() -> None:
    (one,) = likelihood().experiments
    assert one.status == "published"
    assert any("three Gaussian numbers" in note for note in one.notes)
    assert any("190 keV" in note for note in one.notes)
    for bad in (0.0, 231.0, float("nan")):
        with pytest.raises(ValueError, match=r"above_keV .* must be from 1 to 230"):
            jc.experiment("borexino-phase2", above_keV=bad)
    with pytest.raises(ValueError, match=r"unknown solar model 'gs89' \(did you mean gs98"):
        jc.experiment("borexino-phase2:solar_model=gs89")
