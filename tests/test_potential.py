"""Potentials of light vector bosons against NSI, NumPy's eigenvectors step by step, and integrals over the Sun."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns import datasets
from jcevns.physics import (
    MatterNSI,
    ProductionRegion,
    earth_states,
    mass_fractions,
    nufit60,
    solar_density_matrix,
)
from jcevns.physics.night import night_density_matrix
from jcevns.physics.potential import VectorPotential, earth_spread, solar_spread
from tests import reference
from tests.test_oscillations import MASSES, PMNS, POTENTIAL

NAME = "xenonnt-2024-s2"
PER_MASS = 1e18 / 197.3269804  # km in MeV^-1
HEAVY = 1e7


def coupling(eps: float, mass: float) -> float:
    return float(np.sqrt(eps * np.sqrt(2) * reference.FERMI * mass**2))


def nsi_of(eps: float, up: float, down: float, electron: float, flavours: tuple[float, ...], **options) -> jc.NSI:
    """The same contact terms; an electron's vector coupling is half left, half right."""
    own = {
        f"eps_{name}_{f}{f}": eps * charge * q
        for name, charge in (("u", up), ("d", down), ("eL", electron / 2), ("eR", electron / 2))
        for f, q in zip(("e", "mu", "tau"), flavours, strict=True)
    }
    return jc.NSI(**own, **options)


# Identities.


@pytest.mark.parametrize("mass", [1e-3, 10.0, 1e3])
@pytest.mark.parametrize("charges", [(1 / 3, 1 / 3, 0.0, (0.0, 0.0, -3.0)), (0.2, -0.1, 0.7, (1.0, -1.0, 0.5))])
def test_a_short_range_is_nsi_whatever_the_mass(mass: float, charges) -> None:
    up, down, electron, flavours = charges
    eps, energy = 0.08, jnp.array([0.3, 3.0, 10.0, 15.0])
    boson = VectorPotential(mass, coupling(eps, mass), flavours, electron + 2 * up + down, up + 2 * down)
    light, contact = MatterNSI(vectors=(boson,)), nsi_of(eps, *charges).matter()
    day, expected = (solar_density_matrix(energy, "b8", nsi=one) for one in (light, contact))
    assert np.abs(np.asarray(day - expected)).max() < 1e-10
    assert np.abs(np.asarray(day - solar_density_matrix(energy))).max() > 0.01
    nights = [night_density_matrix(day, energy, nufit60(), one) for one in (light, contact)]
    assert np.abs(np.asarray(nights[0] - nights[1])).max() < 1e-10
    # At 0.3 MeV, 1e5 radians to the other side make 1e-10 of rounding.
    paths = [np.asarray(earth_states(energy[1:], jnp.array([0.2, 0.9]), nufit60(), one)) for one in (light, contact)]
    assert np.abs(paths[0] - paths[1]).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(("name", "earth"), [(NAME, "lngs"), ("lz-er-ws2022", "day")])
def test_counts_of_a_heavy_vector_are_those_of_nsi(name: str, earth: str) -> None:
    """Scattering and propagation at once, on nuclei and on electrons."""
    charges = (0.2, -0.1, 0.7, (1.0, -1.0, 0.5))
    up, down, electron, flavours = charges
    vector = jc.VectorMediator(
        HEAVY, coupling(0.1, HEAVY), up=up, down=down, electron=electron, flavours=flavours, propagation="matter"
    )
    one = jc.experiment(name)
    found = np.asarray(jc.signal_counts(one, vector + jc.physics.Oscillations(earth=earth)))
    np.testing.assert_allclose(found, jc.signal_counts(one, nsi_of(0.1, *charges, earth=earth)), rtol=1e-10)
    without = jc.signal_counts(one, nsi_of(0.1, *charges, earth=earth, propagation="standard"))
    assert np.abs(found / np.asarray(without) - 1).max() > 1e-3


@pytest.mark.parametrize("name", ["b-l", "lmu-ltau"])
def test_no_effect(name: str) -> None:
    """Charges alike for all flavours; or what the loop lends to protons and to electrons, which cancels."""
    one = jc.experiment(NAME)
    options = {"mass": 1.0, "coupling": 3e-4}
    plain, bent = (
        jc.theory(name, **options, propagation=p)
        + (jc.physics.Oscillations() if p == "standard" else jc.StandardModel())
        for p in ("standard", "matter")
    )
    np.testing.assert_allclose(jc.signal_counts(one, plain), jc.signal_counts(one, bent), rtol=1e-12)


@pytest.mark.parametrize("name", ["b-3ltau", "le-lmu"])
def test_default_is_without_a_potential(name: str) -> None:
    """And with it, flavours are calculated: as in a sum with `oscillations`."""
    options = {"mass": 30.0, "coupling": 5e-5}
    one = jc.experiment(NAME)
    theory = jc.theory(name, **options)
    assert isinstance(theory, jc.VectorMediator)
    assert theory.propagation == "standard"
    text = f"{name}:mass=30:coupling=5e-5"
    matter, written, calculated = (
        np.asarray(jc.signal_counts(one, jc.theory(t)))
        for t in (f"{text}:propagation=matter", f"{text}:propagation=matter+oscillations", f"{text}+oscillations")
    )
    np.testing.assert_array_equal(matter, written)
    assert 1e-6 < np.abs(matter / calculated - 1).max() < 0.5


def test_beside_nsi_both_count() -> None:
    """The couplings of one theory and the charges of the other add up."""
    one, half = jc.experiment(NAME), coupling(0.05, HEAVY)
    vector = jc.VectorMediator(HEAVY, half, electron=0.0, flavours=(1.0, 0.0, 0.0), propagation="matter")
    both = jc.signal_counts(one, vector + jc.NSI(eps_u_ee=0.05, eps_d_ee=0.05))
    np.testing.assert_allclose(both, jc.signal_counts(one, jc.NSI(eps_u_ee=0.1, eps_d_ee=0.1)), rtol=1e-10)


# The average over the range.


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("ranges", [1e-3, 1.0, 7.0, 28.0, 32.0, 200.0])
def test_average_over_the_range_of_the_boson(ranges: float, radius: float) -> None:
    """Against the integral over shells, of the potential of a shell; `ranges` of them make the Sun's radius."""
    table, composition = (datasets.read_table(f"solar_{n}") for n in ("production_b16", "composition_b23"))
    last = table["radius"][-1]

    # Finely, and finer where the kernel is a spike.
    x, r = ranges, max(radius, 1e-6)
    spike = r + np.sinh(np.linspace(-12, 12, 40_001)) / np.sinh(12) * min(1.0, 40 / x)
    s = np.unique(np.clip(np.concatenate([np.linspace(0, 1, 40_001), spike]), 0, 1))
    edge = np.interp(s, table["radius"], 10 ** table["log10_electron_density"])
    electrons = edge * np.exp(-10.54 * np.maximum(s - last, 0))
    neutrons = electrons * np.interp(s, composition["radius"], composition["neutrons_per_electron"])
    # Of a shell: exp(-x d)/(4 pi d) over its surface.
    shell = x / (2 * r) * s * (np.exp(-x * np.abs(r - s)) - np.exp(-x * (r + s)))
    mass = x / (6.957e5 * PER_MASS)
    found = solar_spread((radius,))(jnp.asarray(mass))
    for density, one in zip((electrons, neutrons), found, strict=True):
        expected = np.trapezoid(shell * density, s) / np.interp(r, s, density)
        assert float(one[0]) * mass**2 == pytest.approx(expected, rel=2e-3)


def test_ranges_beyond_the_sun_have_a_limit() -> None:
    """A potential at no mass, and derivatives; far shorter ranges are contact terms to all digits."""
    average = solar_spread((0.001, 0.1))
    for found in (average(jnp.asarray(0.0)), average(jnp.asarray(1e-26))):
        np.testing.assert_allclose(found[0], average(jnp.asarray(1e-25))[0], rtol=1e-3)
    for spread in (average, earth_spread):
        np.testing.assert_allclose(spread(jnp.asarray(5.0))[0] * 25, 1.0, rtol=1e-15)
        for mass in (0.0, 1e-22, 1e-15, 1.0):
            slope = jax.jacfwd(spread)(jnp.asarray(mass))[0]
            assert np.all(np.isfinite(slope))
            step = 1e-4 * mass
            if mass > 0:
                up, down = (np.asarray(spread(jnp.asarray(mass + d))[0]) for d in (step, -step))
                np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)
    # The middle of an even sphere: 1 - (1 + x) exp(-x).
    mass = 1 / (6371.0 * PER_MASS)
    assert float(earth_spread(jnp.asarray(mass))[0]) * mass**2 == pytest.approx(1 - 2 / np.e)


# Adiabatic.


def through_the_sun(energy: float, potential: np.ndarray, start: float, starts: int = 24) -> np.ndarray:
    """Mass states that come out of an exponential Sun, in steps of constant density, averaged over a few starts."""
    steps = 30_000
    radius = np.linspace(start, 1.0, steps + 1)
    middle = (radius[1:] + radius[:-1]) / 2
    density = 100 * np.exp(-10.54 * middle) * np.minimum(1, (1 - middle) / 0.01) ** 2
    vacuum = (PMNS * MASSES) @ PMNS.conj().T / (2e6 * energy)
    values, states = np.linalg.eigh(vacuum + POTENTIAL * density[:, None, None] * potential)
    length = np.diff(radius)[:, None] * 6.957e5 * 1e5 / 1.973269804e-5
    step = (states * np.exp(-1j * values * length)[:, None, :]) @ states.conj().swapaxes(1, 2)
    first, total, found = set(np.linspace(0, 0.004 * steps, starts).astype(int)), np.eye(3, dtype=complex), []
    for i in range(steps - 1, -1, -1):
        total = total @ step[i]
        if i in first:
            found.append(np.abs(PMNS.conj().T @ total[:, 0]) ** 2)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("size", [0.3, -3.0, 30.0, 1e3, 1e5])
@pytest.mark.parametrize("flavours", [(0.0, 0.0, 1.0), (1.0, -1.0, 0.0)])
def test_conversion_is_adiabatic_for_potentials_of_all_sizes(size: float, flavours) -> None:
    """Also where a flavour crosses the others far out; 1e-3 is what the few starts leave of their phases."""
    expected = through_the_sun(10.0, np.diag([1.0, 0, 0]) + size * np.diag(flavours), 0.05)
    sign, force = np.sign(size), coupling(abs(size), 1.0)
    boson = VectorPotential(1.0, force, sign * np.array(flavours), 1.0, 0.0)
    place = ProductionRegion([100 * np.exp(-10.54 * 0.0519)], [0.0], [1.0])
    found = mass_fractions(jnp.array([10.0]), place, nufit60(), MatterNSI(vectors=(boson,)))[0]
    assert np.abs(np.asarray(found) - expected).max() < 1e-3


def test_a_flavour_that_decouples_leaves_the_others_alone() -> None:
    """Beyond 1e5 nothing changes, and nothing is lost to rounding."""
    rho = [
        np.asarray(
            solar_density_matrix(
                jnp.array([3.0, 10.0]),
                nsi=MatterNSI(vectors=(VectorPotential(1.0, coupling(s, 1.0), (0.0, 0.0, -3.0), 1.0, 1.0),)),
            )
        )
        for s in (3e3, 1e4, 1e6, 1e12)
    ]
    for one in rho:
        assert np.abs(np.trace(one, axis1=1, axis2=2) - 1).max() < 1e-10
        assert np.abs(one - rho[0]).max() < 2e-4


# Likelihoods, messages.


@pytest.mark.slow
def test_limits_are_where_the_profile_says() -> None:
    """Through the verbs, with all masses and mixing among the parameters."""
    likelihood = jc.Likelihood(NAME, jc.theory("b-3ltau:mass=20:propagation=matter+oscillations:earth=day"))
    assert {"coupling", "theta_12", "dm2_31"} <= set(likelihood.parameters)
    found = jc.interval(likelihood, "coupling", cl=0.90)
    edge = found.segments[-1][1]
    there = jc.profile(likelihood, {"coupling": edge})
    assert float(there.chi2 - found.chi2_min) == pytest.approx(2.7055, abs=1e-4)


def test_messages() -> None:
    with pytest.raises(ValueError, match="propagation 'sun' must be 'matter' or 'standard'"):
        jc.VectorMediator(10.0, 1e-5, propagation="sun")
    alone = jc.VectorMediator(10.0, 1e-5, flavours=(0.0, 1.0, 0.0), propagation="matter")
    for theory in (alone, alone + jc.MagneticMoment(1.0)):
        with pytest.raises(ValueError, match=r"add jc.physics.Oscillations\(\)"):
            jc.signal_counts(jc.experiment(NAME), theory)
