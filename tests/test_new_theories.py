"""Electromagnetic properties of the neutrino against formulas written out in NumPy, and published sizes of limits."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import jcevns as jc
from jcevns.physics import mass_fractions, nufit60, production_region, solar_density_matrix
from jcevns.physics.electromagnetic import effective_moment_squared
from jcevns.physics.electrons import Electron
from jcevns.physics.interaction import theory_parameters
from jcevns.physics.nuclei import Nucleus
from tests import reference
from tests import reference_complementary as ref
from tests.test_cli import call
from tests.test_oscillations import PMNS

XE = Nucleus(Z=54, A=132, mass=122840.3, spin=0)
ELECTRON = Electron()
E_NUCLEUS, T_NUCLEUS = (x.ravel() for x in np.meshgrid([8.0, 11.0, 15.0], [2e-5, 3e-4, 1e-3], indexing="ij"))
E_ELECTRON, T_ELECTRON = (x.ravel() for x in np.meshgrid([0.4, 1.5, 9.0], [2e-3, 2e-2, 0.2], indexing="ij"))
FLAVOURS = ("e", "mu", "tau", "anti-e", "anti-mu")
ALPHA = 7.2973525643e-3  # CODATA 2022
CM2 = (reference.HBARC * 1e-13) ** 2  # cm^2 MeV^2
NEW = ("charge-radius", "millicharge", "dipole-portal")


def form(T, mass, A):
    return reference.klein_nystrand(np.sqrt(2 * mass * T) / reference.HBARC, A)


def coherent(E, T, Z, A, mass, charge):
    """Eq. 1 with any charge; the kinematic edge is the caller's."""
    kinematic = 1 - mass * T / (2 * E**2) - T / E
    return reference.FERMI**2 * mass / np.pi * charge**2 * form(T, mass, A) ** 2 * kinematic


def weak(Z, A):
    return Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2


def photon(F, T, mass):
    """Like charges of one proton and a neutrino: 4 pi alpha F(q^2)/(2 m T), in units of sqrt2 G_F."""
    return 4 * np.pi * ALPHA * F / (2 * mass * T) / (np.sqrt(2) * reference.FERMI)


def form_charge(name, size, T, mass):
    """F(q^2) = q + q^2 r^2/6 with q^2 = -2 m T."""
    return size * 1e-12 if name == "millicharge" else -2 * mass * T * size * 1e-32 / CM2 / 6


def dipole(E, T, mass, m4):
    """Upscattering without pi alpha^2 mu^2/m_e^2, with its own kinematic edge."""
    value = 1 / T - 1 / E - m4**2 / (2 * E * T * mass) * (1 - T / (2 * E) + mass / (2 * E))
    value = value + m4**4 * (T - mass) / (8 * E**2 * T**2 * mass**2)
    least = (T + np.sqrt(T * (T + 2 * mass))) / 2 * (1 + m4**2 / (2 * mass * T))
    return np.where(least <= E, value, 0)


def inside(E, T, mass):
    return 2 * E**2 / (mass + 2 * E) >= T


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(("name", "sizes"), [("charge-radius", (7.0, -30.0, 4.0)), ("millicharge", (3e4, -2e5, 9e4))])
def test_photon_interferes_on_nuclei(name, sizes, flavour) -> None:
    made = jc.theory(name, **dict(zip(PARAMETERS[name], sizes, strict=True)))
    size = sizes[("e", "mu", "tau").index(flavour.removeprefix("anti-"))]
    Z, A, mass = 54.0, 132.0, 122840.3
    charge = weak(Z, A) + Z * photon(form_charge(name, size, T_NUCLEUS, mass), T_NUCLEUS, mass)
    expected = np.where(inside(E_NUCLEUS, T_NUCLEUS, mass), coherent(E_NUCLEUS, T_NUCLEUS, Z, A, mass, charge), 0)
    found = made.dsigma_dT(jnp.asarray(E_NUCLEUS), jnp.asarray(T_NUCLEUS), XE, flavour)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14 * expected.max())
    assert np.all(expected[-1] > 0)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(("name", "sizes"), [("charge-radius", (7.0, -30.0, 4.0)), ("millicharge", (0.4, -3.0, 1.0))])
def test_photon_interferes_on_electrons(name, sizes, flavour) -> None:
    made = jc.theory(name, **dict(zip(PARAMETERS[name], sizes, strict=True)))
    size = sizes[("e", "mu", "tau").index(flavour.removeprefix("anti-"))]
    shift = -photon(form_charge(name, size, T_ELECTRON, ref.ME), T_ELECTRON, ref.ME)
    expected = ref.electron(E_ELECTRON, T_ELECTRON, flavour, vector=shift)
    expected = np.where(inside(E_ELECTRON, T_ELECTRON, ref.ME), expected, 0)
    found = made.dsigma_dT(jnp.asarray(E_ELECTRON), jnp.asarray(T_ELECTRON), ELECTRON, flavour)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13 * expected.max())


PARAMETERS = {
    "charge-radius": ("r2_ee", "r2_mumu", "r2_tautau"),
    "millicharge": ("q_ee", "q_mumu", "q_tautau"),
    "dipole-portal": ("mass", "moment"),
}


def assert_same(made: jc.Interaction, other: jc.Interaction) -> None:
    for particle, E, T in ((XE, E_NUCLEUS, T_NUCLEUS), (ELECTRON, E_ELECTRON, T_ELECTRON)):
        for flavour in FLAVOURS:
            a, b = (x.dsigma_dT(jnp.asarray(E), jnp.asarray(T), particle, flavour) for x in (made, other))
            np.testing.assert_allclose(a, b, rtol=1e-10)


def test_sign_of_the_photon_beside_the_weak_charge() -> None:
    """Like a vector boson with the coupling e: a positive neutrino is pushed by protons, g^2 = 4 pi alpha q."""
    q = 1e4 * 1e-12
    photon_like = jc.VectorMediator(
        0.0, np.sqrt(4 * np.pi * ALPHA * q), up=2 / 3, down=-1 / 3, electron=-1.0, flavours=(1.0, 0.0, 0.0)
    )
    made = jc.Millicharge(q_ee=1e4)
    assert_same(made, photon_like)


def test_charge_radius_is_a_shift_of_the_weak_angle() -> None:
    """Of both nuclei and electrons, by half of Qt = 0.02380 per 1e-32 cm^2."""
    qt = np.sqrt(2) * np.pi * ALPHA * 1e-32 / CM2 / (3 * reference.FERMI)
    assert qt == pytest.approx(0.02380, rel=1e-3)
    r2 = 5.0
    shifted = jc.StandardModel(sin2w=reference.SIN2W + r2 * qt / 2)
    made = jc.ChargeRadius(r2, r2, r2)
    assert_same(made, shifted)


def test_charge_radius_limits_follow_those_of_the_weak_angle() -> None:
    """One flavour, one target: the interval of r2 is that of sin2w, moved and scaled."""
    qt = np.sqrt(2) * np.pi * ALPHA * 1e-32 / CM2 / (3 * reference.FERMI)
    radius = jc.interval(jc.Likelihood("texono-2010", jc.theory("charge-radius")), "r2_ee")
    angle = jc.interval(jc.Likelihood("texono-2010"), "sin2w")
    expected = [[(x - reference.SIN2W) * 2 / qt for x in segment] for segment in angle.segments]
    np.testing.assert_allclose(radius.segments, expected, rtol=1e-6)


@pytest.mark.parametrize("m4", [0.0, 0.3, 3.0, 8.0])
def test_dipole_portal_is_the_formula(m4) -> None:
    made = jc.DipolePortal(m4, 800.0, flavours=(1.0, 0.5, 2.0))
    unit = np.pi * ALPHA**2 / ref.ME**2 * (800e-12) ** 2
    mass, A = 122840.3, 132.0
    for flavour, charge in (("e", 1.0), ("anti-mu", 0.5), ("tau", 2.0)):
        found = made.dsigma_dT(jnp.asarray(E_NUCLEUS), jnp.asarray(T_NUCLEUS), XE, flavour)
        standard = reference.dsigma_dT(E_NUCLEUS, T_NUCLEUS, 54, A, mass)
        new = charge * unit * (54 * form(T_NUCLEUS, mass, A)) ** 2 * dipole(E_NUCLEUS, T_NUCLEUS, mass, m4)
        np.testing.assert_allclose(found, standard + new, rtol=1e-10)
        assert np.any(new > 0)
        found = made.dsigma_dT(jnp.asarray(E_ELECTRON), jnp.asarray(T_ELECTRON), ELECTRON, flavour)
        standard = ref.electron(E_ELECTRON, T_ELECTRON, flavour)
        standard = np.where(inside(E_ELECTRON, T_ELECTRON, ref.ME), standard, 0)
        new = charge * unit * dipole(E_ELECTRON, T_ELECTRON, ref.ME, m4)
        np.testing.assert_allclose(found, standard + new, rtol=1e-10)


def test_dipole_portal_moves_the_threshold_by_itself() -> None:
    """The recoil spectrum against direct quadrature: elastic scattering keeps its own threshold."""
    recoil = np.array([0.2, 1.0, 2.5])
    unit = np.pi * ALPHA**2 / ref.ME**2 * (1000e-12) ** 2

    def cross_section(E, T, Z, A, mass):
        new = unit * (Z * form(T, mass, A)) ** 2 * dipole(E, T, mass, 8.0)
        return reference.dsigma_dT(E, T, Z, A, mass) + new

    expected = [smooth_rate(T, cross_section) for T in recoil]
    found = jc.physics.recoil_spectrum(
        jc.DipolePortal(8.0, 1000.0), jc.physics.b8(), jc.physics.xenon(), jnp.asarray(recoil)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    standard = jc.physics.recoil_spectrum(
        jc.StandardModel(), jc.physics.b8(), jc.physics.xenon(), jnp.asarray(recoil)
    )
    assert np.all(np.asarray(found / standard) > [1.0 - 1e-12, 1.1, 1.1])


def smooth_rate(T_keV, cross_section, nodes=400_001) -> float:
    """dR/dT of 8B neutrinos on xenon on a fine even grid of energies."""
    flux, xe = jc.datasets.read_table("b8_spectrum_bahcall1996"), jc.datasets.read_table("xenon_isotopes")
    E = np.linspace(0.02, 17.0, nodes)
    density = np.interp(E, flux["energy_MeV"], flux["density_per_MeV"], left=0, right=0)
    molar = np.sum(xe["abundance"] * xe["atomic_mass_u"])
    total = 0.0
    for Z, A, mass, abundance in zip(xe["Z"], xe["A"], xe["nuclear_mass_MeV"], xe["abundance"], strict=True):
        value = np.trapezoid(density * cross_section(E, T_keV * 1e-3, Z, A, mass), E)
        total += abundance * 1e6 * reference.MOLE / molar * value
    return total * reference.FLUX * reference.YEAR * CM2 * 1e-3


PLACES = {
    "nuclei": (jc.physics.b8, jc.physics.xenon, [0.3, 1.0, 2.5]),
    "electrons": (jc.physics.solar, jc.physics.xenon_electrons, [3.0, 10.0, 60.0]),
}


def rates(theory, place) -> np.ndarray:
    flux, target, recoil = PLACES[place]
    return np.asarray(jc.physics.recoil_spectrum(theory, flux(), target(), jnp.asarray(recoil)))


@pytest.mark.parametrize("place", PLACES)
def test_identities(place) -> None:
    standard = rates(jc.StandardModel(), place)
    for name in NEW:
        np.testing.assert_allclose(rates(jc.theory(name), place), standard, rtol=1e-12)
    moment = 400.0 if place == "nuclei" else 10.0
    massless = rates(jc.DipolePortal(0.0, moment), place)
    np.testing.assert_allclose(massless, rates(jc.MagneticMoment(moment), place), rtol=1e-10)
    both = jc.DipolePortal(0.0, 0.6 * moment) + jc.MagneticMoment(0.8 * moment)
    np.testing.assert_allclose(rates(both, place), massless, rtol=1e-10)
    assert np.all(massless > standard)


@pytest.mark.parametrize("place", PLACES)
def test_sums_commute_and_interfere(place) -> None:
    size = 4e4 if place == "nuclei" else 0.3
    a = jc.ChargeRadius(r2_ee=6.0, r2_mumu=-3.0)
    b = jc.Millicharge(q_ee=-size)
    c = jc.DipolePortal(0.2 if place == "electrons" else 4.0, 300.0 if place == "nuclei" else 10.0)
    np.testing.assert_array_equal(rates(a + b, place), rates(b + a, place))
    np.testing.assert_array_equal(rates(a + c, place), rates(c + a, place))
    np.testing.assert_allclose(rates((a + b) + c, place), rates(a + (c + b), place), rtol=1e-14)
    new = [rates(x, place) - rates(jc.StandardModel(), place) for x in (a, b, c, a + b, a + c)]
    np.testing.assert_allclose(new[4], new[0] + new[2], rtol=1e-9)  # another final state
    assert np.all(np.abs(new[3] - new[0] - new[1]) > 1e-6 * np.abs(new[3]))


@pytest.mark.parametrize("name", NEW)
def test_derivatives_are_finite_where_nothing_is_new(name, likelihoods) -> None:
    likelihood = likelihoods["xenonnt"].under(name)
    slope = jax.grad(lambda values: jc.profile(likelihood, values).chi2)
    points = [dict.fromkeys(PARAMETERS[name], 0.0)]
    if name == "dipole-portal":
        points += [{"mass": 0.0, "moment": 500.0}, {"mass": 30.0, "moment": 500.0}]
    for point in points:
        found = slope({key: jnp.asarray(value) for key, value in point.items()})
        assert np.all(np.isfinite(list(found.values()))), (point, found)


def test_derivatives_are_finite_where_the_weak_charge_vanishes() -> None:
    vanishing = jc.StandardModel(sin2w=(1 - (132 - 54) / 54) / 4)  # of 132Xe

    def at(r2):
        made = jc.ChargeRadius(r2_ee=r2, standard_model=vanishing)
        return jnp.sum(made.dsigma_dT(jnp.asarray(E_NUCLEUS), jnp.asarray(T_NUCLEUS), XE, "e"))

    first, second = jax.grad(at)(0.0), jax.grad(jax.grad(at))(0.0)
    assert float(first) == pytest.approx(0.0, abs=1e-20)
    assert float(second) > 0


def number(text, names, **at):
    return jc.interval(jc.Likelihood(names, text), at.pop("name"), at=at or None)


@pytest.mark.parametrize(("m4", "limit"), [(3.0, 1.235e-9), (8.0, 2.30e-9)])
def test_dipole_portal_limits(m4, limit) -> None:
    found = number("dipole-portal", "xenonnt-2024-s2", name="moment", mass=m4)
    assert found.segments[-1][1] * 1e-12 == pytest.approx(limit, rel=0.01)


def test_charge_radius_limits() -> None:
    ((low, high),) = number("charge-radius", "xenonnt-2024-s2", name="r2_ee").segments
    assert (low, high) == pytest.approx((-90.8, 32.6), rel=0.01)
    (first, second) = number("charge-radius", "coherent-csi-2021", name="r2_mumu").segments
    assert first == pytest.approx((-62.4, -52.0), rel=0.01)
    assert second == pytest.approx((-5.3, 5.2), abs=0.06)


def xenonnt_counts(cross_section) -> np.ndarray:
    """Events of 8B neutrinos in the three bins, whatever the flavour: only the response is that of the experiment."""
    response = jc.experiment("xenonnt-2024-s2").channels[0].response
    recoil, matrix = (np.asarray(x) for x in (response.recoil_keV, response.matrix))
    few = np.geomspace(recoil[0], recoil[-1], 161)
    rate = np.array([smooth_rate(T, cross_section, 20_001) for T in few])
    return matrix @ np.interp(recoil, few, rate)


def limit_in_numpy(signal, start, stop) -> float:
    """Where chi2 exceeds by 2.7055 its value at the best point, which is looked for on a grid."""
    experiment = jc.experiment("xenonnt-2024-s2")

    def chi2(x):
        return reference.minimum(reference.Chi2([experiment], [signal(x)]))[0]

    best = min(chi2(x) for x in np.linspace(start, stop, 25))
    return brentq(lambda x: chi2(x) - best - 2.7055, start, stop, rtol=1e-4)


def test_dipole_portal_limit_in_numpy() -> None:
    unit = np.pi * ALPHA**2 / ref.ME**2 * 1e-18  # of 1e-9 mu_B
    standard = xenonnt_counts(reference.dsigma_dT)
    new = xenonnt_counts(lambda E, T, Z, A, M: unit * (Z * form(T, M, A)) ** 2 * dipole(E, T, M, 8.0))
    found = limit_in_numpy(lambda x: standard + x**2 * new, 0.0, 4.0)
    assert found == pytest.approx(2.30, rel=0.01)
    np.testing.assert_allclose(
        jc.signal_counts(jc.experiment("xenonnt-2024-s2"), jc.DipolePortal(8.0, 2000.0)),
        standard + 4 * new,
        rtol=3e-3,
    )


@pytest.mark.parametrize(("flavour", "charges"), [("e", (1, 0, 0)), ("mu", (0, 1, 0)), ("tau", (0, 0, 1))])
@pytest.mark.parametrize("place", PLACES)
def test_magnetic_moment_per_flavour(place, flavour, charges) -> None:
    moment = 400.0 if place == "nuclei" else 10.0
    standard = rates(jc.StandardModel(), place)
    one = rates(jc.theory("magnetic-moment", moment=moment, flavours=charges), place) - standard
    every = rates(jc.theory("magnetic-moment", moment=moment), place) - standard
    assert np.all((one > 0) & (one < every))
    particle, E, T = (XE, 10.0, 3e-4) if place == "nuclei" else (ELECTRON, 1.5, 0.02)
    for other in ("e", "mu", "tau"):
        made = jc.MagneticMoment(moment, flavours=charges)
        new = made.dsigma_dT(jnp.asarray(E), jnp.asarray(T), particle, other)
        new = new - jc.StandardModel().dsigma_dT(jnp.asarray(E), jnp.asarray(T), particle, other)
        scale = (54 * form(T, 122840.3, 132.0)) ** 2 if place == "nuclei" else 1.0
        unit = np.pi * ALPHA**2 / ref.ME**2 * (moment * 1e-12) ** 2 * (1 / T - 1 / E) * scale
        assert float(new) == pytest.approx(unit * (other == flavour), rel=1e-9, abs=1e-10 * unit)
    parts = [jc.theory("magnetic-moment", moment=moment, flavours=c) for c in np.eye(3)]
    assert rates(parts[0] + parts[1] + parts[2], place) == pytest.approx(every + standard, rel=1e-12)


@pytest.mark.parametrize("name", ["dipole-portal", "magnetic-moment"])
def test_squared_moments_are_not_negative(name) -> None:
    with pytest.raises(ValueError, match="multiply squared moments, none may be negative"):
        jc.theory(name, flavours=(-1.0, 0.0, 0.0))


def test_effective_moment_of_a_mixture_of_mass_states() -> None:
    """Against the trace with the density matrix in flavour; of one size for all, against nothing but that size."""
    energy = jnp.array([0.3, 5.0, 10.0])
    shares = mass_fractions(energy, production_region("b8"), nufit60())
    stream = np.random.default_rng(3)
    moments = stream.normal(size=(3, 3)) + 1j * stream.normal(size=(3, 3))
    for one in (moments, moments - moments.T):  # Dirac, Majorana
        found = np.asarray(effective_moment_squared(shares, jnp.asarray(one)))
        in_flavour = one @ PMNS.conj().T  # of an initial flavour
        rho = np.asarray(solar_density_matrix(energy))
        expected = np.einsum("ja,eab,jb->e", in_flavour, rho, in_flavour.conj()).real
        np.testing.assert_allclose(found, expected, rtol=1e-5)  # 8 nodes stand for the region of production
        assert np.ptp(found) > 0.1
    universal = effective_moment_squared(shares, 3.0 * jnp.eye(3, dtype=complex))
    np.testing.assert_allclose(universal, 9.0, rtol=1e-12)


def test_theories_are_listed(capsys) -> None:
    listed = {entry["name"]: entry for entry in json.loads(call(capsys, "theories", "--json")[1])}
    for name in NEW:
        records = {p["name"]: p for p in listed[name]["parameters"]}
        assert set(PARAMETERS[name]) <= set(records)
        assert set(PARAMETERS[name]) <= set(theory_parameters(jc.theory(name)))
        for key in PARAMETERS[name]:
            assert records[key]["unit"]
    moment = next(p for p in listed["dipole-portal"]["parameters"] if p["name"] == "moment")
    assert (moment["unit"], moment["lower"]) == ("1e-12 mu_B", 0.0)


TRANSITIONS = {"r2_emu": 8.0, "r2_etau": -5.0, "r2_mutau": 3.0}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_transition_radii_add_their_squares(flavour) -> None:
    """Q Q^dagger of the matrix of radii, for one flavour."""
    radii = {"r2_ee": 4.0, "r2_mumu": -6.0, **TRANSITIONS}
    family = flavour.removeprefix("anti-")
    row = [
        next((v for k, v in radii.items() if k in (f"r2_{family}{other}", f"r2_{other}{family}")), 0.0)
        for other in ("e", "mu", "tau")
    ]
    own = ("e", "mu", "tau").index(family)
    theory = jc.ChargeRadius(**radii, standard_model=jc.StandardModel(electron_couplings="tree"))
    shifts = [
        photon(form_charge("charge-radius", r, T_NUCLEUS, XE.mass.item()), T_NUCLEUS, XE.mass.item()) for r in row
    ]
    charge = [54 * s + (weak(54, 132) if i == own else 0) for i, s in enumerate(shifts)]
    expected = sum(coherent(E_NUCLEUS, T_NUCLEUS, 54, 132, XE.mass.item(), q) for q in charge)
    inside = 2 * E_NUCLEUS**2 / (XE.mass.item() + 2 * E_NUCLEUS) >= T_NUCLEUS
    found = theory.dsigma_dT(jnp.asarray(E_NUCLEUS), jnp.asarray(T_NUCLEUS), XE, flavour)
    np.testing.assert_allclose(np.asarray(found)[inside], expected[inside], rtol=1e-8)
    vector = [-photon(form_charge("charge-radius", r, T_ELECTRON, ref.ME), T_ELECTRON, ref.ME) for r in row]
    whole = ref.electron(E_ELECTRON, T_ELECTRON, flavour, tree=True, vector=vector[own])
    zero = ref.electron(E_ELECTRON, T_ELECTRON, flavour, tree=True)
    for i, shift in enumerate(vector):
        if i != own:  # a vector current by itself: what is even in it
            both = [ref.electron(E_ELECTRON, T_ELECTRON, flavour, tree=True, vector=s * shift) for s in (1, -1)]
            whole = whole + (both[0] + both[1]) / 2 - zero
    inside = T_ELECTRON <= 2 * E_ELECTRON**2 / (ref.ME + 2 * E_ELECTRON)
    found = theory.dsigma_dT(jnp.asarray(E_ELECTRON), jnp.asarray(T_ELECTRON), ELECTRON, flavour)
    np.testing.assert_allclose(np.asarray(found)[inside], whole[inside], rtol=1e-8)


def test_transition_radii_are_incoherent_for_beams_and_coherent_for_the_sun() -> None:
    radii = {"r2_ee": 4.0, "r2_mumu": -6.0, **TRANSITIONS}
    plain = jc.ChargeRadius(**radii)
    beam = jc.experiment("coherent-lar-2020")
    counts = [np.asarray(jc.signal_counts(beam, t)) for t in (plain, plain + jc.physics.Oscillations())]
    np.testing.assert_allclose(counts[1], counts[0], rtol=1e-10)
    # On nuclei a radius R is -Qt R Z, and so are couplings of quarks with eps^d = -2 eps^u.
    per = 2 * np.sqrt(2) * np.pi * ALPHA / reference.FERMI * 1e-32 / CM2 / 6
    nsi = {
        f"eps_{q}_{k.removeprefix('r2_')}": v * f * per
        for q, f in (("u", -2 / 3), ("d", 1 / 3))
        for k, v in radii.items()
    }
    sun = jc.experiment("xenonnt-2024-s2")
    a, b = (
        np.asarray(jc.signal_counts(sun, t))
        for t in (plain + jc.physics.Oscillations(), jc.NSI(propagation="standard", **nsi))
    )
    np.testing.assert_allclose(a, b, rtol=1e-7)
    flipped = jc.ChargeRadius(**{**radii, "r2_emu": -8.0}) + jc.physics.Oscillations()
    assert np.abs(np.asarray(jc.signal_counts(sun, flipped)) / a - 1).min() > 1e-3


# Contact terms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_contact_terms_on_nuclei_and_electrons(flavour) -> None:
    """Eqs. 5 and 6 of arXiv:2411.11749 with G_F C/sqrt2 in place of g^2/P; two signs of the interference."""
    E, T, mass = E_NUCLEUS, T_NUCLEUS, float(XE.mass)
    for size in (0.02, -0.02):
        made = jc.theory("ngi", C_V=size)
        by_hand = coherent(E, T, 54, 132, mass, weak(54, 132) + 3 * 132 * size / 2)
        by_hand = np.where(inside(E, T, mass), by_hand, 0)
        np.testing.assert_allclose(made.dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE, flavour), by_hand, rtol=1e-9)
    proton = 938.27209 * (0.0208 / 2.2 + 0.0411 / 4.7)
    neutron = 939.56542 * (0.0189 / 2.2 + 0.0451 / 4.7)
    charge = 54 * proton + 78 * neutron
    scalar = (mass * reference.FERMI * 0.1 / np.sqrt(2) * charge * form(T, mass, 132)) ** 2 * T / (4 * np.pi * E**2)
    by_hand = np.where(inside(E, T, mass), coherent(E, T, 54, 132, mass, weak(54, 132)) + scalar, 0)
    found = jc.theory("ngi", C_S=-0.1).dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE, flavour)
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    m = float(ELECTRON.mass)
    unit = (m * reference.FERMI * 0.5 / np.sqrt(2)) ** 2 * T_ELECTRON / (4 * np.pi * E_ELECTRON**2)
    scalar = np.where(inside(E_ELECTRON, T_ELECTRON, m), unit * (1 + T_ELECTRON / (2 * m)), 0)
    where = jnp.asarray(E_ELECTRON), jnp.asarray(T_ELECTRON), ELECTRON, flavour
    new, old = (jc.theory("ngi", C_S=c).dsigma_dT(*where) for c in (0.5, 0.0))
    np.testing.assert_allclose(new - old, scalar, rtol=1e-6, atol=1e-12 * np.max(old))


@pytest.mark.parametrize("place", ["xenonnt-2024-s2", "xenonnt-er-2022"])
@pytest.mark.parametrize(
    ("coefficient", "mediator"), [("C_S", "scalar"), ("C_V", "vector"), ("C_A", "axial"), ("C_T", "tensor")]
)
def test_contact_terms_are_heavy_mediators(coefficient, mediator, place) -> None:
    mass, size = 1e6, 0.3
    coupling = mass * np.sqrt(reference.FERMI * size / np.sqrt(2))
    experiment = jc.experiment(place)
    contact = jc.signal_counts(experiment, jc.theory("ngi", **{coefficient: size}))
    heavy = jc.signal_counts(experiment, jc.theory(mediator, mass=mass, coupling=coupling))
    np.testing.assert_allclose(contact, heavy, rtol=1e-7)
    if coefficient in ("C_V", "C_A") and place == "xenonnt-er-2022":
        other = jc.signal_counts(experiment, jc.theory("ngi", **{coefficient: -size}))
        assert np.all(np.abs(other / contact - 1) > 1e-3)


def test_contact_terms_through_the_verbs() -> None:
    likelihood = jc.Likelihood("xenonnt-2024-s2", "ngi")
    vector = jc.interval(likelihood, "C_V", cl=0.90)
    assert vector.valid
    # Q_V -> Q_V + 3 A C/2: the interval of the charge of both signs, mirrored at its zero.
    ratio = np.array([end for pair in vector.segments for end in pair]) * 1.5 * 131.3 / 37.46
    assert ratio[0] + ratio[-1] == pytest.approx(2.0, rel=2e-3)
    both = jc.fit(likelihood, ("C_S", "C_V"), errors=False)
    assert both.valid
    assert both.chi2_min <= vector.chi2_min + 1e-9
