"""Neutrino-electron scattering against the formulas in chiral couplings and integrals of one's own."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.physics.flux import solar_fractions
from jcevns.physics.theories import MEDIATORS as INTERACTIONS
from tests import reference_complementary as ref
from tests.reference import MOLE

E, T = (x.ravel() for x in np.meshgrid([0.3, 0.86, 3.0, 9.0], [1e-3, 2e-2, 0.1], indexing="ij"))  # MeV
RECOILS = jnp.asarray([3.0, 10.0, 20.0])  # keV
# Reference calculation, events/(t y keV) of solar neutrinos at 3, 10, 20 keV.
SOLAR = {"free": (3.24, 3.15, 3.03), "steps": (2.64, 3.04, 2.92)}
MEDIATORS = (*INTERACTIONS, "moment")


ELECTRON = jc.physics.Electron()


def coefficients(theory, recoil, flavour) -> np.ndarray:
    """Of E^0, E^-1, E^-2 in the whole cross section, (3, recoil)."""
    return np.tensordot(
        np.asarray(theory.weights()), np.asarray(theory.terms(jnp.asarray(recoil), ELECTRON, flavour)), 1
    )


def in_powers(theory, recoil, flavour) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of what goes with g^2 (interference) and with g^4, from the terms."""
    terms, s = np.asarray(theory.terms(jnp.asarray(recoil), ELECTRON, flavour)), float(theory.standard_model.sin2w)
    # Terms 0, 1, 3 are those of 1, sin2w and its square; the amplitude of a mediator comes last among the products.
    return (terms[2] + s * terms[4], terms[5]) if theory.amplitudes() else (0 * terms[0], terms[3])


def contracted(coefficients, energy=E) -> np.ndarray:
    return np.sum(np.asarray(coefficients) / np.stack([energy**0, energy, energy**2]), axis=0)


def made(name: str, mass: float, coupling: float, tree: bool = False, **options):
    model = jc.StandardModel(electron_couplings="tree" if tree else "radiative")
    if name == "moment":
        return jc.MagneticMoment(coupling, standard_model=model)
    return jc.theory(name, mass=mass, coupling=coupling, standard_model=model, **options)


# Cross sections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", jc.physics.FLAVOURS)
@pytest.mark.parametrize("sin2w", [0.2, 0.23857, 0.4])
@pytest.mark.parametrize("couplings", ["radiative", "tree"])
def test_standard_model(flavour, sin2w, couplings) -> None:
    found = coefficients(jc.StandardModel(sin2w, electron_couplings=couplings), T, flavour)
    expected = ref.electron(E, T, flavour, sin2w, tree=couplings == "tree")
    np.testing.assert_allclose(contracted(found), expected, rtol=1e-11)


def test_textbook_total_cross_section() -> None:
    """sigma = 2 G_F^2 m_e E/pi (g_L^2 + g_R^2/3) far above the electron mass: 9.5e-45 cm^2 per MeV for nu_e."""
    energy = 1e4
    recoil, weight = np.polynomial.legendre.leggauss(8)
    recoil, weight = energy * (1 + recoil) / 2, energy * weight / 2
    model = jc.StandardModel(0.23, electron_couplings="tree")
    for flavour, slope in (("e", 9.49e-45), ("anti-e", 3.97e-45), ("mu", 1.55e-45), ("anti-mu", 1.33e-45)):
        value = contracted(coefficients(model, recoil, flavour), np.full(8, energy))
        total = float(value @ weight) * (197.3269804e-13) ** 2
        assert total / energy == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("flavour", jc.physics.FLAVOURS)
@pytest.mark.parametrize("name", MEDIATORS)
def test_couplings_shifted_in_the_whole_formula(name, flavour) -> None:
    """The sum of weights times terms is the formula with g_V or g_A shifted, or with a term added."""
    sizes = (1.0, 30.0, 1e3) if name == "moment" else (1e-7, 1e-6, 1e-4)
    for tree, m, g in itertools.product((True, False), (1e-3, 0.3, 20.0), sizes):
        theory = made(name, m, g, tree)
        expected = ref.with_mediator(name, E, T, flavour, m, g, tree)
        pairs = zip(theory.weights(), theory.terms(jnp.asarray(T), ELECTRON, flavour), strict=True)
        scale = sum(np.abs(float(w) * contracted(term)) for w, term in pairs)
        whole = contracted(coefficients(theory, T, flavour))
        np.testing.assert_array_less(np.abs(whole - expected), 1e-11 * scale + 1e-60)
        direct = theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), ELECTRON, flavour)
        inside = 2 * E**2 / (ref.ME + 2 * E) >= T
        np.testing.assert_array_less(np.abs(np.asarray(direct) - np.where(inside, whole, 0)), 1e-11 * scale + 1e-60)


@pytest.mark.parametrize("name", ["vector", "axial"])
@pytest.mark.parametrize("flavour", ["e", "anti-mu"])
def test_interference_and_square_by_differences(name, flavour) -> None:
    """From the reference formula at two couplings; for axial antineutrinos the signs of shift and g_A meet."""
    m = 0.5
    a, b = (ref.with_mediator(name, E, T, flavour, m, g) - ref.electron(E, T, flavour) for g in (1e-5, 2e-5))
    interference, quadratic = in_powers(made(name, m, 1.0), T, flavour)
    np.testing.assert_allclose(contracted(interference), (16 * a - b) / 12 / 1e-10, rtol=1e-7)
    np.testing.assert_allclose(contracted(quadratic), (b - 4 * a) / 12 / 1e-20, rtol=1e-7)


def test_forms_of_scalar_and_tensor() -> None:
    recoil = jnp.asarray([1e-3, 0.5, 5.0])
    exact, literature = (
        in_powers(made("scalar", 1.0, 1e-4, electron_form=form), recoil, "anti-e")[1]
        for form in ("exact", "literature")
    )
    np.testing.assert_allclose(exact[2] / literature[2], 1 + np.asarray(recoil) / (2 * ref.ME), rtol=1e-13)
    trace, usual = (
        in_powers(made("tensor", 1.0, 1e-4, normalisation=form), recoil, "anti-e")[1] for form in ("trace", "naive")
    )
    np.testing.assert_allclose(trace, 2 * usual, rtol=1e-14)


def squared_tensor_amplitude(E: float, T: float) -> float:
    """Of (nu sigma P_L nu)(e sigma e) summed over final and averaged over initial spins, by Dirac matrices."""
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    gamma = [np.kron(pauli[2], np.eye(2)), *(np.kron(1j * pauli[1], s) for s in pauli)]
    metric = np.diag([1.0, -1, -1, -1])
    five = 1j * gamma[0] @ gamma[1] @ gamma[2] @ gamma[3]
    left, right = (np.eye(4) - five) / 2, (np.eye(4) + five) / 2
    sigma = np.array([[0.5j * (a @ b - b @ a) for b in gamma] for a in gamma])
    lowered = np.einsum("ac,bd,cdij->abij", metric, metric, sigma)
    # Neutrino along z, electron at rest, electron recoiling with cos = (E + m) sqrt(T/(T + 2 m))/E.
    size, cos = np.sqrt(T * (T + 2 * ref.ME)), (E + ref.ME) / E * np.sqrt(T / (T + 2 * ref.ME))
    k, p = np.array([E, 0, 0, E]), np.array([ref.ME, 0, 0, 0])
    out = np.array([ref.ME + T, size * np.sqrt(1 - cos**2), 0, size * cos])
    slash = lambda q: np.einsum("a,aij->ij", metric @ q, np.array(gamma))  # noqa: E731
    mass = ref.ME * np.eye(4)
    neutrino = np.einsum("ij,abjk,kl,cdli->abcd", slash(k + p - out), sigma, left @ slash(k) @ right, sigma)
    electron = np.einsum("ij,abjk,kl,cdli->abcd", slash(out) + mass, lowered, slash(p) + mass, lowered) / 2
    total = np.sum(neutrino * electron)
    assert abs(total.imag) < 1e-9 * abs(total)
    return float(total.real)


@pytest.mark.parametrize(("energy", "recoil"), [(0.4, 0.05), (5.0, 0.3), (30.0, 2.0)])
def test_tensor_by_explicit_traces(energy, recoil) -> None:
    """dsigma/dT = |M|^2/(32 pi m_e E^2), the mediator's propagator and couplings in front."""
    m, g = 2.0, 1e-3
    new = squared_tensor_amplitude(energy, recoil) / (32 * np.pi * ref.ME * energy**2)
    new = new * g**4 / (m**2 + 2 * ref.ME * recoil) ** 2
    at = (jnp.asarray(energy), jnp.asarray(recoil), ELECTRON, "mu")
    found = float(jc.TensorMediator(m, g).dsigma_dT(*at) - jc.StandardModel().dsigma_dT(*at))
    assert found == pytest.approx(new, rel=1e-9)


def test_limits_of_tensors_on_electrons() -> None:
    """g_T^4 of the trace is half of that as commonly written."""
    one, other = (
        jc.limits(jc.Likelihood("texono-2010", made("tensor", 1.0, 0.0, normalisation=form)), "coupling")
        for form in ("trace", "naive")
    )
    assert other[0].excluded[0][0] / one[0].excluded[0][0] == pytest.approx(2**0.25, rel=1e-6)


def test_b_minus_l_is_the_universal_vector_on_electrons() -> None:
    one, other = (coefficients(made(name, 1.0, 1e-5), T, "e") for name in ("vector", "b-l"))
    np.testing.assert_array_equal(one, other)


def test_magnetic_moment_on_a_nucleus() -> None:
    """Z^2 F^2 times the electron's, with the electron mass in front and no factor of the nucleus' mass."""
    xe = jc.physics.Nucleus(54, 132, 122840.349, 0)
    recoil, energy = np.array([1e-4, 1e-3]), 10.0
    found = jc.MagneticMoment(50.0).dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), xe)
    form = jc.physics.KleinNystrand()(jnp.asarray(2 * 122840.349 * recoil), xe)
    unit = np.pi * ref.ALPHA**2 / ref.ME**2 * (50e-12) ** 2
    new = unit * 54**2 * np.asarray(form) ** 2 * (1 / recoil - 1 / energy)
    standard = jc.StandardModel().dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), xe)
    np.testing.assert_allclose(found - standard, new, rtol=1e-9)


# Solar rates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", SOLAR)
def test_solar_rates(binding) -> None:
    found = jc.physics.recoil_spectrum(
        jc.StandardModel(), jc.physics.solar(), jc.physics.xenon_electrons(binding), RECOILS
    )
    np.testing.assert_allclose(found, SOLAR[binding], rtol=0.01)


def test_pp_rate_by_adaptive_quadrature() -> None:
    spectra, survival = read_table("solar_spectra"), read_table("solar_survival")
    pp = spectra["source"] == "pp"
    nodes, density = spectra["energy_MeV"][pp], spectra["density_per_MeV"][pp]
    xe = read_table("xenon_isotopes")
    recoil = 7.5e-3

    def integrand(energy):
        p = np.interp(energy, survival["energy_MeV"], survival["pp"])
        mixed = p * ref.electron(energy, recoil, "e")
        _, *others = solar_fractions("pp", np.array([energy]))[:, 0]  # tested by itself
        for flavour, share in zip(("mu", "tau"), others, strict=True):
            mixed += share * ref.electron(energy, recoil, flavour)
        return np.interp(energy, nodes, density) * mixed

    start = ref.lowest_energy(recoil, ref.ME)
    cuts = [start, *nodes[nodes > start]]
    integral = sum(quad(integrand, a, b, epsabs=0, epsrel=1e-9)[0] for a, b in itertools.pairwise(cuts))
    atoms = 1e6 * MOLE / np.average(xe["atomic_mass_u"], weights=xe["abundance"])
    expected = integral * ref.per_tonne_year(5.98e10) * atoms * 52  # all but 1s
    flux = jc.physics.solar(sources=("pp",))
    found = jc.physics.recoil_spectrum(jc.StandardModel(), flux, jc.physics.xenon_electrons(), jnp.asarray([7.5]))
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)


def test_recoils_end_at_the_kinematic_edge() -> None:
    line = jc.physics.NeutrinoFlux([0.8612, 0.8613, 0.8614], [0.0, 1e4, 0.0], 1e10, "line", ("e",))
    end = 2e3 * 0.8613**2 / (ref.ME + 2 * 0.8613)  # 664 keV
    found = jc.physics.recoil_spectrum(
        jc.StandardModel(), line, jc.physics.xenon_electrons(), jnp.asarray([0.999 * end, 1.001 * end])
    )
    assert float(found[0]) > 0
    assert float(found[1]) == 0.0


# Electrons of a material ----------------------------------------------------------------------------------------


def test_shells_open_at_their_binding_energies() -> None:
    shells, target = read_table("xenon_shells"), jc.physics.xenon_electrons()
    edges = shells["binding_eV"] / 1e3
    above = np.asarray(target.per_atom(jnp.asarray(edges * (1 + 1e-9))))
    below = np.asarray(target.per_atom(jnp.asarray(edges * (1 - 1e-9))))
    np.testing.assert_array_equal(above - below, shells["electrons"])
    # The steps that matter in keV: L3, L2, L1, K.
    energies = [4.83, 4.85, 5.17, 5.52, 34.7, 34.8]
    np.testing.assert_array_equal(target.per_atom(jnp.asarray(energies)), [44, 48, 50, 52, 52, 54])


def test_rrpa_is_a_ratio_to_the_steps() -> None:
    table = read_table("xenon_rrpa_ratio")
    recoil = jnp.asarray(np.append(table["recoil_keV"][::10], [0.1, 100.0]))
    steps, rrpa = (np.asarray(jc.physics.xenon_electrons(b).per_atom(recoil)) for b in ("steps", "rrpa"))
    assert np.all(table["ratio"] < 1)
    np.testing.assert_allclose(rrpa[:-2] / steps[:-2], table["ratio"][::10], rtol=1e-12)
    np.testing.assert_array_equal(rrpa[-2:], steps[-2:])  # none known outside the table


def test_electrons_per_tonne() -> None:
    free = jc.physics.xenon_electrons("free")
    assert float(free.atoms_per_tonne) == pytest.approx(1e6 * MOLE / 131.293, rel=1e-4)
    assert float(free.per_atom(jnp.asarray([0.01]))[0]) == 54
    csi = jc.physics.electrons_of(108.0, 259.81)
    assert float(csi.atoms_per_tonne * csi.per_atom(jnp.asarray([5e3]))[0]) == pytest.approx(
        108e6 * MOLE / 259.81, rel=1e-12
    )


# Errors ---------------------------------------------------------------------------------------------------------


def test_unknown_binding() -> None:
    with pytest.raises(ValueError, match=r"'step' \(did you mean steps\?\): choose from steps, rrpa, free"):
        jc.physics.xenon_electrons("step")


@pytest.mark.parametrize(("Z", "mass"), [(0.0, 260.0), (108.0, -1.0), (float("nan"), 260.0)])
def test_bad_electrons(Z, mass) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        jc.physics.electrons_of(Z, mass)


class NucleiOnly(jc.Interaction):
    def terms(self, recoil, particle, flavour):
        one = particle.Z * jnp.ones_like(recoil)
        return jnp.stack([one, 0 * one, 0 * one])[None]


def test_interaction_without_electrons() -> None:
    with pytest.raises(TypeError, match=r"NucleiOnly says nothing about electrons .*let its `terms` tell them"):
        jc.physics.recoil_spectrum(NucleiOnly(), jc.physics.solar(), jc.physics.xenon_electrons(), RECOILS)


def test_flux_without_flavours() -> None:
    flat = jc.physics.NeutrinoFlux([0.0, 1.0], [1.0, 1.0], 1e10, "flat")
    with pytest.raises(ValueError, match=r"flux 'flat' does not tell its flavours.*give them, as in NeutrinoFlux"):
        jc.physics.recoil_spectrum(jc.StandardModel(), flat, jc.physics.xenon_electrons(), RECOILS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.StandardModel(electron_couplings="loop"), "'radiative' or 'tree'"),
        (lambda: jc.ScalarMediator(electron_form="full"), "'exact' or 'literature'"),
        (lambda: jc.TensorMediator(normalisation="full"), "'trace' or 'naive'"),
    ],
)
def test_unknown_forms(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
