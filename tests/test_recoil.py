"""Cross section and recoil spectrum against direct integrals, kinematics, gradients, interactions of one's own."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jcevns import Interaction, StandardModel
from jcevns.datasets import read_table
from jcevns.physics import (
    Helm,
    KleinNystrand,
    Nucleus,
    SymmetrisedFermi,
    b8,
    counts_above,
    hep,
    recoil_spectrum,
    xenon,
)
from jcevns.physics.interaction import maximum_recoil, minimum_energy
from jcevns.physics.nuclei import mirror_sin2w, target_from_isotopes
from jcevns.physics.standard_model import weak_charge
from tests import reference

XENON = xenon()
THRESHOLDS = (0.3, 0.5, 0.7, 1.0, 1.1, 2.0, 3.0)  # keV
# Events per tonne-year above each threshold, sin^2(theta_W) 0.23857, Klein-Nystrand, 5.46e6 cm^-2 s^-1.
COUNTS = {
    "winter2006": (496.94, 318.68, 202.12, 98.59, 76.66, 5.089, 0.03365),
    "bahcall1996": (488.24, 311.50, 196.49, 95.00, 73.63, 4.729, 0.03282),
}
RECOILS = np.array([0.01, 0.3, 0.77, 1.0, 1.9, 3.1, 4.2])  # keV
XE132 = Nucleus(*(jnp.asarray(x) for x in (54.0, 132.0, 122840.349, 0.0)))


def spectrum(theory, recoil_keV, flux=None):
    return recoil_spectrum(theory, flux or b8(), XENON, jnp.asarray(recoil_keV))


@pytest.mark.parametrize("shape", COUNTS)
def test_counts_above_threshold(shape) -> None:
    counts = counts_above(StandardModel(), b8(shape), XENON, jnp.asarray(THRESHOLDS))
    np.testing.assert_allclose(counts, COUNTS[shape], rtol=3e-3)


def test_hep_above_one_keV() -> None:
    assert float(counts_above(StandardModel(), hep(), XENON, jnp.asarray([1.0]))[0]) == pytest.approx(0.84, abs=0.005)


def test_rate_is_linear_in_the_total() -> None:
    np.testing.assert_array_equal(spectrum(StandardModel(), RECOILS, b8(total=0.0)), 0.0)
    half = spectrum(StandardModel(), RECOILS, b8(total=2.73e6))
    np.testing.assert_allclose(2 * half, spectrum(StandardModel(), RECOILS), rtol=1e-14)


@pytest.mark.parametrize(
    ("theory", "table", "options"),
    [
        (StandardModel(), "b8_spectrum_bahcall1996", {}),
        (StandardModel(), "b8_spectrum_winter2006", {}),
        (StandardModel(0.4), "b8_spectrum_bahcall1996", {"sin2w": 0.4, "total": 8e6}),
        (StandardModel(-1.0), "b8_spectrum_bahcall1996", {"sin2w": -1.0}),
        (StandardModel(0.23857, Helm()), "b8_spectrum_bahcall1996", {"form_factor": reference.helm}),
        (
            StandardModel(0.23857, SymmetrisedFermi()),
            "b8_spectrum_bahcall1996",
            {"form_factor": reference.symmetrised_fermi},
        ),
        (
            StandardModel(0.23857, KleinNystrand(0.9, 1.1)),
            "b8_spectrum_bahcall1996",
            {"form_factor": lambda q, A: reference.klein_nystrand(q, A, 0.9, 1.1)},
        ),
    ],
)
def test_spectrum_is_the_direct_double_sum(theory, table, options) -> None:
    flux = b8("winter2006" if "winter" in table else "bahcall1996", total=options.get("total", 5.46e6))
    np.testing.assert_allclose(
        spectrum(theory, RECOILS, flux), reference.spectrum(RECOILS, table, **options), rtol=1e-9
    )


def test_counts_above_are_the_integral_of_the_direct_spectrum() -> None:
    end = 2 * 16.0**2 / (115390.007 + 32) * 1e3
    for threshold in (0.3, 1.0):
        cuts = np.linspace(np.sqrt(threshold), np.sqrt(end), 25) ** 2
        expected = reference.integrate(reference.spectrum, cuts, order=6)
        counts = counts_above(StandardModel(), b8(), XENON, jnp.asarray([threshold]))
        np.testing.assert_allclose(counts[0], expected, rtol=1e-5)


def test_one_recoil_energy_by_adaptive_quadrature() -> None:
    table = read_table("b8_spectrum_bahcall1996")
    single = target_from_isotopes(["132Xe"], [54.0], [132.0], [122840.349], [0.0], [1.0], [131.904155083])
    T = 1.3e-3
    start = (T + np.sqrt(T * (T + 2 * 122840.349))) / 2

    def integrand(E):
        phi = np.interp(E, table["energy_MeV"], table["density_per_MeV"])
        return phi * float(reference.dsigma_dT(E, T, 54.0, 132.0, 122840.349))

    cuts = [start, *table["energy_MeV"][table["energy_MeV"] > start]]
    integral = sum(quad(integrand, a, b, epsabs=0, epsrel=1e-10)[0] for a, b in itertools.pairwise(cuts))
    atoms = 1e6 * 6.02214076e23 / 131.904155083
    expected = integral * atoms * 5.46e6 * (197.3269804e-13) ** 2 * 365.25 * 86400 * 1e-3
    rate = recoil_spectrum(StandardModel(), b8(), single, jnp.asarray([1.3]))
    np.testing.assert_allclose(rate[0], expected, rtol=1e-9)


# Kinematics ---------------------------------------------------------------------------------------------------


def test_maximum_recoil_and_minimum_energy() -> None:
    energy, mass = np.linspace(0.5, 16.0, 40), 122840.349
    edge = maximum_recoil(jnp.asarray(energy), jnp.asarray(mass))
    np.testing.assert_allclose(edge, 2 * energy**2 / (mass + 2 * energy), rtol=1e-15)
    np.testing.assert_allclose(minimum_energy(edge, jnp.asarray(mass)), energy, rtol=1e-12)


def test_cross_section_is_the_formula_and_zero_beyond_the_edge() -> None:
    energy = np.linspace(1.0, 16.0, 31)
    edge = 2 * energy**2 / (122840.349 + 2 * energy)
    for fraction in (0.0, 0.3, 0.999):
        value = StandardModel().dsigma_dT(jnp.asarray(energy), jnp.asarray(fraction * edge), XE132)
        expected = reference.dsigma_dT(energy, fraction * edge, 54.0, 132.0, 122840.349)
        np.testing.assert_allclose(value, expected, rtol=1e-9)
    for fraction in (1.001, 2.0, 100.0):
        beyond = StandardModel().dsigma_dT(jnp.asarray(energy), jnp.asarray(fraction * edge), XE132)
        np.testing.assert_array_equal(beyond, 0.0)


def test_cross_section_vanishes_at_the_edge_up_to_recoil_over_energy() -> None:
    # 1 - m T/(2 E^2) - T/E with T = 2 E^2/(m + 2 E) is exactly zero.
    energy = jnp.asarray(10.0)
    edge = maximum_recoil(energy, XE132.mass)
    ratio = StandardModel().dsigma_dT(energy, edge, XE132) / StandardModel().dsigma_dT(energy, 0 * edge, XE132)
    assert abs(float(ratio)) < 1e-14


def test_spectrum_beyond_the_end_point_is_zero_with_finite_gradients() -> None:
    recoils = jnp.asarray([0.0, 4.5, 5.0, 50.0])

    def rate(theory, recoil):
        return recoil_spectrum(theory, b8(), XENON, recoil)

    value = rate(StandardModel(), recoils)
    assert float(value[0]) > 0
    np.testing.assert_array_equal(value[2:], 0.0)
    gradient = eqx.filter_jit(eqx.filter_jacfwd(lambda t: rate(t, recoils)))(StandardModel())
    by_recoil = jax.jit(jax.jacfwd(lambda r: rate(StandardModel(), r)))(recoils)
    for leaf in [*jax.tree.leaves(eqx.filter(gradient, eqx.is_array)), by_recoil]:
        assert np.isfinite(leaf).all()


def test_weak_charge_and_its_zero() -> None:
    np.testing.assert_allclose(weak_charge(XE132, 0.23857), 54 * (1 - 4 * 0.23857) / 2 - 78 / 2, rtol=1e-14)
    xe = read_table("xenon_isotopes")
    mean = np.average(xe["A"] - 54, weights=xe["abundance"])
    assert mirror_sin2w(XENON) == pytest.approx((1 - mean / 54) / 4, rel=1e-12)
    assert mirror_sin2w(XENON) == pytest.approx(-0.108, abs=5e-4)


# Gradients ----------------------------------------------------------------------------------------------------


def test_gradients_in_sin2w_flux_and_form_factor() -> None:
    start = np.array([0.23857, 5.46, 0.7, 1.23])  # sin2w, flux in 1e6, a_k, r0
    recoils = jnp.asarray(RECOILS)

    def rate(p):
        theory = StandardModel(p[0], KleinNystrand(p[2], p[3]))
        flux = eqx.tree_at(lambda f: f.total, b8(), p[1] * 1e6)
        return recoil_spectrum(theory, flux, XENON, recoils)

    jacobian = jax.jit(jax.jacrev(rate))(jnp.asarray(start))
    for i, direction in enumerate(np.eye(4)):
        numeric = reference.slope(lambda h, d=direction: rate(jnp.asarray(start + h * d)), 0.0, 1e-3)
        np.testing.assert_allclose(jacobian[:, i], numeric, rtol=1e-8, err_msg=str(i))


# Interactions of one's own ------------------------------------------------------------------------------------


class Direct(Interaction):
    """The Standard Model without its moments: forces the integral over the neutrino energy."""

    sin2w: jax.Array

    def dsigma_dT(self, energy, recoil, nucleus, flavour):
        return StandardModel(self.sin2w).dsigma_dT(energy, recoil, nucleus, flavour)


class Mediated(Interaction):
    """Standard Model amplitude plus a light vector: (1 + strength/(m^2 + 2 m_N T))^2, with a term in 1/E^3."""

    strength: jax.Array
    mass: jax.Array

    def dsigma_dT(self, energy, recoil, nucleus, flavour):
        factor = 1 + self.strength / (self.mass**2 + 2 * nucleus.mass * recoil)
        return StandardModel().dsigma_dT(energy, recoil, nucleus, flavour) * factor**2 * (1 + 1 / energy)


def test_energy_integral_equals_the_moments() -> None:
    direct = spectrum(Direct(jnp.asarray(0.3)), RECOILS)
    np.testing.assert_allclose(direct, spectrum(StandardModel(0.3), RECOILS), rtol=1e-9)


def test_interaction_of_ones_own() -> None:
    strength, mediator = 150.0, 12.0

    def cross_section(E, T, Z, A, mass):
        factor = 1 + strength / (mediator**2 + 2 * mass * T)
        return reference.dsigma_dT(E, T, Z, A, mass) * factor**2 * (1 + 1 / E)

    def rate(strength):
        return spectrum(Mediated(strength, jnp.asarray(mediator)), RECOILS)

    np.testing.assert_allclose(
        rate(jnp.asarray(strength)), reference.spectrum(RECOILS, cross_section=cross_section), rtol=1e-9
    )
    slope = jax.jacfwd(rate)(jnp.asarray(strength))
    numeric = reference.slope(lambda g: rate(jnp.asarray(g)), strength, 0.5)
    np.testing.assert_allclose(slope, numeric, rtol=1e-8)


# Messages -----------------------------------------------------------------------------------------------------


def test_target_must_be_a_mixture() -> None:
    with pytest.raises(ValueError, match=r"sum to 0\.5"):
        target_from_isotopes(["a"], [54], [132], [1.2e5], [0.0], [0.5], [131.9])
    with pytest.raises(ValueError, match="masses must be positive"):
        target_from_isotopes(["a"], [54], [132], [-1.2e5], [0.0], [1.0], [131.9])
