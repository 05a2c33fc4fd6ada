"""New interactions against the formulas of arXiv:2411.11749 written out in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import StandardModel, TensorMediator, VectorMediator, profile, signal, theory
from jcevns.datasets import read_table
from jcevns.fit.batch import profile_signals
from jcevns.fit.surface import Surface
from jcevns.physics import b8, recoil_spectrum, xenon
from jcevns.physics.theories import MEDIATORS
from tests import problems, reference
from tests.test_spin_structure import WITH_SPIN, nucleus, s00

ADDED = ("scalar", "axial", "tensor")  # without interference
FLUX, TARGET = b8(), xenon()
RECOIL = jnp.asarray([0.05, 0.5, 1.0, 2.5, 4.0])  # keV
PROTON, NEUTRON = 938.27208943, 939.56542194


def interaction(name: str, mass=10.0, coupling=0.0, **options):
    return theory(name, mass=mass, coupling=coupling, **options)


def strength(made, energy, recoil, particle) -> np.ndarray:
    """What an interaction adds without interference, as dsigma/dT."""
    parts = np.asarray(made.additions(jnp.asarray(recoil), particle, "e"))
    whole = np.tensordot(np.asarray(made.strengths()), parts, 1)
    return np.tensordot(np.ones(3), whole / np.asarray(energy) ** np.arange(3)[:, None], 1)


def counts(likelihood, mass, coupling) -> np.ndarray:
    """Signals at many masses and couplings, (point, bin)."""
    mass, coupling = np.broadcast_arrays(np.asarray(mass, float), np.asarray(coupling, float))
    surface = Surface(likelihood, ("mass", "coupling"))
    return surface.signals(np.stack([mass.ravel(), coupling.ravel()], axis=1))


def new_physics(name: str, E, T, isotope: str, m, g, trace: bool = True) -> np.ndarray:
    """Section III of the paper: dsigma/dT in MeV^-3, without the Standard Model."""
    xe = read_table("xenon_isotopes")
    row = list(xe["isotope"]).index(isotope)
    Z, A, M, J = (float(xe[k][row]) for k in ("Z", "A", "nuclear_mass_MeV", "spin"))
    P = m**2 + 2 * M * T
    F = reference.klein_nystrand(np.sqrt(2 * M * T) / reference.HBARC, A)
    if name in ("vector", "b-l"):
        charge = Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2
        kappa = {"vector": 1, "b-l": -1 / 3}[name]
        factor = 1 + kappa * 3 * A * g**2 / (np.sqrt(2) * reference.FERMI * charge * P)
        sm = reference.FERMI**2 * M / np.pi * charge**2 * F**2 * (1 - M * T / (2 * E**2) - T / E)
        return sm * (factor**2 - 1)
    if name == "scalar":
        proton = PROTON * (0.0208 / 2.2 + 0.0411 / 4.7)
        neutron = NEUTRON * (0.0189 / 2.2 + 0.0451 / 4.7)
        charge = g**2 * (Z * proton + (A - Z) * neutron)
        return M * charge**2 / (4 * np.pi * P**2) * F**2 * M * T / E**2
    if isotope not in WITH_SPIN:
        return np.zeros(np.broadcast_shapes(np.shape(E), np.shape(T)))
    S_T, S_L = s00("transverse", isotope, 2 * M * T), s00("longitudinal", isotope, 2 * M * T)
    if name == "axial":
        return 2 * M / (2 * J + 1) * g**4 / P**2 * (2 + M * T / E**2 - 2 * T / E) * 0.415**2 * S_T
    S_T, S_L = 0.58**2 * np.array([8 * S_T, 32 * S_L] if trace else [S_T, S_L])
    return M / (2 * J + 1) * g**4 / P**2 * ((2 - M * T / E**2 - 2 * T / E) * S_T + (1 - T / E) * S_L)


@pytest.mark.parametrize("name", MEDIATORS)
def test_no_coupling_is_the_standard_model(name, likelihoods) -> None:
    for mass in (0.0, 1e-3, 10.0, 1e5):
        none = interaction(name, mass, 0.0)
        expected = recoil_spectrum(StandardModel(), FLUX, TARGET, RECOIL)
        np.testing.assert_allclose(recoil_spectrum(none, FLUX, TARGET, RECOIL), expected, rtol=1e-12)
        expected = signal(likelihoods["combined"])
        np.testing.assert_allclose(signal(likelihoods["combined"].under(none)), expected, rtol=1e-12)


@pytest.mark.parametrize("isotope", ["129Xe", "131Xe", "132Xe"])
@pytest.mark.parametrize("name", MEDIATORS)
def test_cross_section_is_that_of_the_formula(name, isotope) -> None:
    one = nucleus(isotope)
    E, T = (x.ravel() for x in np.meshgrid([8.0, 11.0, 15.0], [1e-5, 3e-4, 1e-3], indexing="ij"))
    sm = reference.dsigma_dT(E, T, float(one.Z), float(one.A), float(one.mass))
    assert np.all(sm > 0)
    for m in (1e-3, 1.0, 30.0, 1e4):
        for g in (1e-8, 1e-5, 1e-3, 1.0):
            made = interaction(name, m, g)
            whole = made.dsigma_dT(jnp.asarray(E), jnp.asarray(T), one)
            new = new_physics(name, E, T, isotope, m, g)
            # In units of what is added up: the vector's amplitudes may cancel.
            scale = sm + (np.abs(new) if name in ADDED else (np.sqrt(sm) + np.sqrt(np.maximum(sm + new, 0))) ** 2)
            np.testing.assert_array_less(np.abs(np.asarray(whole) - sm - new), 1e-10 * scale)
            if name in ADDED:
                np.testing.assert_allclose(strength(made, E, T, one), new, rtol=1e-10, atol=0)


def test_mean_scalar_charge_of_xenon() -> None:
    abundance = read_table("xenon_isotopes")["abundance"]
    charge = np.asarray(interaction("scalar").charge(TARGET.nuclei))
    assert float(charge @ abundance / abundance.sum()) == pytest.approx(2244.5, abs=0.1)


@pytest.mark.parametrize("name", MEDIATORS)
def test_contact_limit(name) -> None:
    """Heavy mediators: g/m alone counts, up to the propagator's 2 m_N T/m^2."""
    T = jnp.asarray([3e-4, 1e-3])
    for isotope in WITH_SPIN:
        one = nucleus(isotope)
        light, heavy = interaction(name, 1e4, 0.01), interaction(name, 1e5, 0.1)
        P = [m**2 + 2 * float(one.mass) * np.asarray(T) for m in (1e4, 1e5)]
        ratio = P[1] / P[0] / 100
        assert np.all(np.abs(ratio - 1) < 3e-6)
        for (a, b), power in zip(zip(*(_parts(x, T, one) for x in (light, heavy)), strict=True), (1, 2), strict=True):
            np.testing.assert_allclose(a, b * ratio**power, rtol=1e-12)


def _parts(made, recoil, particle) -> tuple[np.ndarray, np.ndarray]:
    """Shift of the charge, zero where nothing interferes, and what is added."""
    shifts = zip(made.amplitudes(), made.shifts(recoil, particle, "e"), strict=True)
    shift = sum((np.asarray(a * pair[0]) for a, pair in shifts), np.zeros(recoil.size))
    return shift, np.tensordot(np.asarray(made.strengths()), np.asarray(made.additions(recoil, particle, "e")), 1)


def test_vector_recovers_the_standard_model_where_the_charge_flips() -> None:
    """g^2 = -2 sqrt2 G_F Q_V P/(3 A), isotope by isotope."""
    energy = jnp.asarray([6.0, 10.0, 15.0])
    for i in range(len(TARGET.names)):
        one = jax.tree.map(lambda x, i=i: x[i], TARGET.nuclei)
        Z, A, M = float(one.Z), float(one.A), float(one.mass)
        charge = Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2
        for m in (0.0, 1.0, 100.0):
            for T in (1e-4, 4e-4):
                g = np.sqrt(-2 * np.sqrt(2) * reference.FERMI * charge * (m**2 + 2 * M * T) / (3 * A))
                assert 1.725e-6 < g / np.sqrt(m**2 + 2 * M * T) < 1.795e-6
                made = VectorMediator(m, g).dsigma_dT(energy, jnp.asarray(T), one)
                expected = StandardModel().dsigma_dT(energy, jnp.asarray(T), one)
                assert float(expected[-1]) > 0
                np.testing.assert_allclose(made, expected, rtol=1e-12, atol=0)


def test_b_minus_l_only_adds(likelihoods) -> None:
    likelihood = likelihoods["combined"].under("b-l")
    mass, coupling = np.meshgrid([0.0, 1e-3, 1.0, 30.0, 1e3, 1e5], np.geomspace(1e-8, 1.0, 17))
    found = counts(likelihood, mass, coupling)
    assert np.all(found >= np.asarray(signal(likelihoods["combined"])) * (1 - 1e-14))
    assert np.all(np.diff(found.reshape(17, 6, -1), axis=0) >= 0)


def test_tensor_normalisations() -> None:
    T = np.array([1e-5, 1e-3, 3e-3])
    for isotope in WITH_SPIN:
        one = nucleus(isotope)
        trace, naive = (
            strength(TensorMediator(10.0, 1e-3, normalisation=n), np.array([10.0, 12.0, 15.0]), T, one)
            for n in ("trace", "naive")
        )
        ratio = trace / naive
        assert np.all((ratio > 8) & (ratio < 32))
        assert np.all((ratio**0.25 > 1.7) & (ratio**0.25 < 2.4))
        for E, t in ((9.0, 1e-4), (14.0, 1e-3)):
            made = TensorMediator(3.0, 1e-2, normalisation="naive").dsigma_dT(jnp.asarray(E), jnp.asarray(t), one)
            new = new_physics("tensor", E, np.asarray(t), isotope, 3.0, 1e-2, trace=False)
            sm = reference.dsigma_dT(E, t, 54, float(one.A), float(one.mass))
            assert float(made) == pytest.approx(sm + new, rel=1e-10)


def test_spectrum_is_that_of_direct_quadrature() -> None:
    """All isotopes, flux and units: one coupling of each kind against reference.spectrum."""
    names = {
        float(A): str(n) for A, n in zip(*(read_table("xenon_isotopes")[k] for k in ("A", "isotope")), strict=True)
    }
    for name, g in {"scalar": 1e-5, "vector": 1e-5, "b-l": 1e-5, "axial": 1e-3, "tensor": 1e-3}.items():

        def cross_section(E, T, Z, A, mass, name=name, g=g):
            inside = 2 * E**2 / (mass + 2 * E) >= T
            new = new_physics(name, E, np.asarray(T), names[float(A)], 10.0, g)
            return reference.dsigma_dT(E, T, Z, A, mass) + np.where(inside, new, 0)

        expected = reference.spectrum(RECOIL, cross_section=cross_section)
        found = recoil_spectrum(interaction(name, 10.0, g), FLUX, TARGET, RECOIL)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


CORNERS = ((1e-3, 1e-8), (1e-3, 1.0), (1e5, 1e-8), (1e5, 1.0))
INTERIOR = {"scalar": 6e-6, "vector": 2.6e-5, "b-l": 2e-5, "axial": 6e-4, "tensor": 4e-4}


@pytest.mark.parametrize("name", MEDIATORS)
def test_gradients(name, likelihoods) -> None:
    likelihood, g = likelihoods["xenonnt"].under(name), INTERIOR[name]
    inner = [(3.0, g), (20.0, 1.5 * g)]
    slope = jax.jit(jax.grad(lambda values: profile(likelihood, values).chi2))
    slopes = [slope({"mass": jnp.asarray(m), "coupling": jnp.asarray(c)}) for m, c in (*CORNERS, *inner)]
    both = np.array([[s["mass"] for s in slopes], [s["coupling"] for s in slopes]])
    assert np.all(np.isfinite(both)), both
    arrangement = problems.arrangement((problems.XENONNT,))
    for i, (m, g) in enumerate(inner):
        k = np.array([-2, -1, 1, 2])
        weights = np.array([1, -8, 8, -1]) / 12
        step = 1e-3
        stencil = counts(likelihood, [*(m * (1 + k * step)), *[m] * 4], [*[g] * 4, *(g * (1 + k * step))])
        fits = profile_signals(arrangement, stencil.T)
        chi2 = fits.chi2.reshape(2, 4) @ weights / step
        expected = chi2 / np.array([m, g])
        np.testing.assert_allclose(both[:, 4 + i], expected, rtol=1e-5)


@pytest.mark.parametrize("name", MEDIATORS)
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, -1e-300])
def test_bad_numbers(name, bad) -> None:
    message = r"must be finite|is outside \[0, inf\]"
    with pytest.raises(ValueError, match=rf"theory '{name}': mass .* ({message})"):
        interaction(name, bad, 1e-5)
    with pytest.raises(ValueError, match=rf"theory '{name}': coupling .* ({message})"):
        interaction(name, 10.0, bad)


def test_other_bad_arguments() -> None:
    with pytest.raises(
        ValueError, match=r"unknown theory 'vectr' \(did you mean vector\?\): .*standard-model, scalar,"
    ):
        theory("vectr")
    with pytest.raises(
        ValueError, match=r"unknown theory 'xyz': .*scalar, vector, b-l, axial, tensor, magnetic-moment"
    ):
        theory("xyz")
    with pytest.raises(ValueError, match="tensor normalisation 'other' must be 'trace' or 'naive'"):
        theory("tensor", normalisation="other")
    with pytest.raises(ValueError, match="scalar: unknown option 'normalisation'"):
        theory("scalar", normalisation="trace")
