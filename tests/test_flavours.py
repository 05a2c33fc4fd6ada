"""Couplings that depend on the flavour: with universal charges, by direct integrals, in limits and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.physics.flux import solar_fractions
from tests import problems, reference
from tests.test_oscillations import PMNS, sun_by_numpy

RECOILS = jnp.asarray([0.1, 0.6, 1.1, 2.0])  # keV
ELECTRON_RECOILS = jnp.asarray([2.0, 9.0, 50.0])
MEV_RECOILS = jnp.asarray([2.5e3, 4e3])
COUPLINGS = {"scalar": 3e-6, "vector": 1e-5, "b-l": 1e-5, "axial": 1e-3, "tensor": 5e-4, "moment": 200.0}
BEAM = {"protons": 3.198e23, "per_proton": 0.0848, "distance_m": 19.3}


def made(name: str, flavours=None, factor: float = 1.0, **options):
    coupling = factor * COUPLINGS[name]
    if name == "moment":
        return jc.MagneticMoment(coupling, flavours=flavours, **options)
    return jc.theory(name, mass=10.0, coupling=coupling, flavours=flavours, **options)


SOURCES = {
    "8B on xenon": lambda theory: jc.physics.recoil_spectrum(theory, jc.physics.b8(), jc.physics.xenon(), RECOILS),
    "SNS on CsI": lambda theory: jc.physics.recoil_spectrum(
        theory, jc.physics.spallation(**BEAM), jc.physics.cesium_iodide(), jnp.asarray([1.0, 10.0, 25.0])
    ),
    "sun on electrons": lambda theory: jc.physics.recoil_spectrum(
        theory, jc.physics.solar(), jc.physics.xenon_electrons(), ELECTRON_RECOILS
    ),
    "reactor on electrons": lambda theory: jc.physics.recoil_spectrum(
        theory, jc.physics.reactor(), jc.physics.electrons_of(108.0, 259.81), MEV_RECOILS
    ),
}


MAXIMAL = {"theta_23": np.pi / 4, "delta": np.pi / 2}  # as many nu_mu as nu_tau
ALIKE = {
    "8B on xenon": lambda theory: jc.physics.recoil_spectrum(
        theory, jc.physics.b8(**MAXIMAL), jc.physics.xenon(), RECOILS
    ),
    "sun on electrons": lambda theory: jc.physics.recoil_spectrum(
        theory, jc.physics.solar(**MAXIMAL), jc.physics.xenon_electrons(), ELECTRON_RECOILS
    ),
}


# Universal charges ----------------------------------------------------------------------------------------------


EVERYWHERE = [(name, source) for name in ("vector", "axial", "moment") for source in SOURCES if "8B" not in source]


@pytest.mark.parametrize(("name", "source"), [*((name, "8B on xenon") for name in COUPLINGS), *EVERYWHERE])
def test_charges_of_one_are_universal(name, source) -> None:
    universal, ones = (SOURCES[source](made(name, flavours)) for flavours in (None, (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(ones, universal, rtol=1e-12)
    none = SOURCES[source](made(name, (0.0, 0.0, 0.0)))
    np.testing.assert_allclose(none, SOURCES[source](jc.StandardModel()), rtol=1e-12)
    assert np.all(np.abs(np.asarray(none / universal) - 1) > 1e-7)  # else the first line would say nothing


def test_charge_is_a_factor_of_the_squared_coupling() -> None:
    for name, source in (("vector", "8B on xenon"), ("axial", "sun on electrons"), ("moment", "SNS on CsI")):
        half, weaker = SOURCES[source](made(name, (0.5,) * 3)), SOURCES[source](made(name, factor=0.5**0.5))
        np.testing.assert_allclose(half, weaker, rtol=1e-12)


def test_charges_of_flavours_that_do_not_arrive() -> None:
    """A reactor makes electron antineutrinos, a beam no tau neutrinos."""
    for source, charges in (("reactor on electrons", (1.0, 7.0, -3.0)), ("SNS on CsI", (1.0, 1.0, 9.0))):
        np.testing.assert_allclose(
            SOURCES[source](made("vector", charges)), SOURCES[source](made("vector")), rtol=1e-12
        )


# Direct integrals -----------------------------------------------------------------------------------------------


def survival(energy):
    table = read_table("solar_survival")
    return np.interp(energy, table["energy_MeV"], table["b8"])


def shares(energy):
    """Of nu_e, nu_mu and nu_tau: the mass states that give the survival probability, in the flavours they hold."""
    squares, p = np.abs(PMNS) ** 2, survival(energy).ravel()
    third = squares[0, 2]
    rows = np.array([[1.0, 1.0], squares[0, :2]])
    first, second = np.linalg.solve(rows, np.stack([np.full_like(p, 1 - third), p - third**2]))
    return (squares @ np.stack([first, second, np.full_like(p, third)])).reshape(3, *energy.shape)


def test_shares_of_the_sun() -> None:
    """Within the small change of theta13 by matter of those that NumPy's eigenvectors give."""
    energy = np.array([3.0, 7.0, 10.0, 15.0])
    found = solar_fractions("b8", energy)
    np.testing.assert_allclose(found, shares(energy), rtol=1e-12)
    for e, column in zip(energy, found.T, strict=True):
        assert np.abs(np.diagonal(sun_by_numpy(e, "b8", False)).real - column).max() < 2e-3
    assert found[1, 2] / found[2, 2] > 1.4
    alike = solar_fractions("b8", energy, np.pi / 4, np.pi / 2)
    np.testing.assert_allclose(alike[1], alike[2], rtol=1e-12)
    np.testing.assert_array_equal(alike[0], found[0])
    for make in (jc.physics.b8, jc.physics.hep, jc.physics.solar):
        flux = make(**MAXIMAL)
        np.testing.assert_allclose(flux.fractions[1], flux.fractions[2], rtol=1e-12)


def vector(E, T, Z, A, mass, squared):
    """CEvNS with a vector mediator of 10 MeV, `squared` in place of g^2; also the Standard Model's, for 0."""
    charge = Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2
    factor = 1 + 3 * A * squared / (np.sqrt(2) * reference.FERMI * charge * (100.0 + 2 * mass * T))
    return reference.dsigma_dT(E, T, Z, A, mass) * factor**2


def mixed(charges):
    """Cross section of the neutrinos that arrive, flavour by flavour."""

    def cross_section(E, T, Z, A, mass):
        share, g2 = shares(E), COUPLINGS["vector"] ** 2
        every = (vector(E, T, Z, A, mass, q * g2) for q in charges)
        return sum(p * one for p, one in zip(share, every, strict=True))

    return cross_section


@pytest.mark.parametrize("charges", [(1.0, 0.0, 0.0), (0.0, 1.0, -1.0), (-1.0, 2.0, 0.5), (0.0, 1.0, 0.0)])
def test_electron_neutrinos_only_by_direct_quadrature(charges) -> None:
    found = SOURCES["8B on xenon"](made("vector", charges))
    np.testing.assert_allclose(found, reference.spectrum(RECOILS, cross_section=mixed(charges)), rtol=1e-5)
    universal = np.asarray(SOURCES["8B on xenon"](made("vector")))
    assert np.all(np.abs(np.asarray(found) / universal - 1) > 0.1)


def test_beam_flavours_by_their_own_fluxes() -> None:
    """A muonic force in the beam: nu_mu and anti-nu_mu with it, nu_e without."""
    target, recoil = jc.physics.cesium_iodide(), jnp.asarray([1.0, 10.0, 25.0])
    m = 105.6583755
    energy = np.linspace(0.0, m / 2, 4001)
    total = BEAM["protons"] * BEAM["per_proton"] / (4 * np.pi * 1930.0**2) / (365.25 * 86400)
    e = jc.physics.NeutrinoFlux(energy, 96 * energy**2 / m**3 * (1 - 2 * energy / m), total, "nu_e", ("e",))
    whole = jc.physics.recoil_spectrum(made("vector"), jc.physics.spallation(**BEAM), target, recoil)
    with_e, without_e = (
        jc.physics.recoil_spectrum(t, e, target, recoil) for t in (made("vector"), jc.StandardModel())
    )
    found = SOURCES["SNS on CsI"](made("vector", (0.0, 1.0, 0.0)))
    np.testing.assert_allclose(found, whole - with_e + without_e, rtol=1e-5)


# L_mu - L_tau ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["8B on xenon", "sun on electrons"])
def test_opposite_charges_cancel_in_the_interference(source) -> None:
    """Where as many nu_mu as nu_tau arrive from the sun: what is left goes as g^4, as for (0, 1, 1)."""
    model = jc.StandardModel(electron_couplings="tree")  # radiative corrections tell mu from tau
    standard = np.asarray(ALIKE[source](model))
    extra = {
        (charges, f): np.asarray(ALIKE[source](made("vector", charges, f, standard_model=model))) - standard
        for charges in ((0.0, 1.0, -1.0), (0.0, 1.0, 1.0), (0.0, -1.0, -1.0))
        for f in (1.0, 2.0)
    }
    opposite = extra[(0.0, 1.0, -1.0), 1.0]
    np.testing.assert_allclose(extra[(0.0, 1.0, -1.0), 2.0], 16 * opposite, rtol=1e-9)
    equal = (extra[(0.0, 1.0, 1.0), 1.0] + extra[(0.0, -1.0, -1.0), 1.0]) / 2  # their interference cancels here
    np.testing.assert_allclose(opposite, equal, rtol=1e-9)
    assert np.all(opposite > 0)
    assert np.all(np.abs(extra[(0.0, 1.0, 1.0), 2.0] / extra[(0.0, 1.0, 1.0), 1.0] / 16 - 1) > 0.05)


def test_radiative_corrections_tell_mu_from_tau() -> None:
    make = lambda f: ALIKE["sun on electrons"](made("vector", (0.0, 1.0, -1.0), f))  # noqa: E731
    standard = ALIKE["sun on electrons"](jc.StandardModel())
    ratio = np.asarray((make(0.02) - standard) / (make(0.01) - standard))
    assert np.all(np.abs(ratio - 16) > 1)


# Gradients, grids, limits ---------------------------------------------------------------------------------------


def test_gradient_in_the_charges() -> None:
    experiment = problems.built(problems.XENONNT)

    @jax.jit
    def total(charges):
        return jc.signal_counts(experiment, jc.VectorMediator(10.0, 1e-5, flavours=charges)).sum()

    charges = jnp.asarray([0.4, -0.3, 0.8])
    gradient = np.asarray(jax.grad(total)(charges))
    for k in range(3):
        expected = reference.slope(lambda x, k=k: float(total(charges.at[k].set(x))), float(charges[k]), 1e-3)
        assert gradient[k] == pytest.approx(float(expected), rel=1e-7)
    assert np.all(np.isfinite(np.asarray(jax.grad(total)(jnp.zeros(3)))))


MASSES = [1.0, 30.0]
MUONIC = jc.VectorMediator(flavours=(0.0, 1.0, -1.0))
NAMES = ("mass", "coupling")


def muonic(mass, coupling):
    return dict(zip(NAMES, (mass, coupling), strict=True))


def test_signals_of_many_points_are_those_of_each() -> None:
    likelihood = problems.joint(problems.BOTH).under(MUONIC)
    points = [(m, g) for m in MASSES for g in (0.0, 1e-6, 1e-4)]
    found = jc.Surface(likelihood, NAMES).signals(np.array(points))
    expected = [jc.signal(likelihood, muonic(m, g)) for m, g in points]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-9)


def test_limit_is_where_the_pointwise_profile_says() -> None:
    likelihood = problems.joint(problems.BOTH).under(MUONIC)
    found = jc.limits(likelihood, "coupling", over={"mass": MASSES})
    for limit in found:
        assert limit.valid
        (lower, upper), *_ = limit.excluded
        assert upper is None
        couplings = np.append(0.0, np.geomspace(lower / 10, 3 * lower, 6))
        chi2 = [float(jc.profile(likelihood, muonic(limit.at["mass"], g)).chi2) for g in couplings]
        assert min(chi2) >= limit.chi2_min - 1e-9
        end = float(jc.profile(likelihood, muonic(limit.at["mass"], lower)).chi2)
        assert end - limit.chi2_min == pytest.approx(2.7055, abs=1e-4)
        assert all((c - limit.chi2_min > 2.7055) == (g > lower) for g, c in zip(couplings, chi2, strict=True))


def test_flavours_of_a_flux_are_needed() -> None:
    flat = jc.physics.NeutrinoFlux([0.0, 10.0], [0.1, 0.1], 1e6, "flat")
    with pytest.raises(ValueError, match=r"flux 'flat' does not tell its flavours, and vector needs them"):
        jc.physics.recoil_spectrum(made("vector", (1.0, 0.0, 0.0)), flat, jc.physics.xenon(), RECOILS)
    jc.physics.recoil_spectrum(made("vector"), flat, jc.physics.xenon(), RECOILS)


@pytest.mark.parametrize(
    ("flavours", "fractions", "message"),
    [
        (("e", "muon"), [[0.5, 0.5], [0.5, 0.5]], r"'muon' \(did you mean mu\?\)"),
        (("e", "e"), [[0.5, 0.5], [0.5, 0.5]], "a flavour is named twice"),
        (("e", "mu"), None, "2 flavours need their fractions"),
        (("e", "mu"), [[0.5, 0.5], [0.4, 0.5]], "add up to one"),
        (("e", "mu"), [[1.5, 1.5], [-0.5, -0.5]], "not be negative"),
        (("e", "mu"), [[1.0, 1.0]], r"shape \(1, 2\), expected \(flavours, energies\) = \(2, 2\)"),
    ],
)
def test_bad_flavours(flavours, fractions, message) -> None:
    fractions = None if fractions is None else np.array(fractions)
    with pytest.raises(ValueError, match="flux 'bad'") as error:
        jc.physics.NeutrinoFlux([0.0, 1.0], [1.0, 1.0], 1.0, "bad", flavours, fractions)
    assert error.match(message)
