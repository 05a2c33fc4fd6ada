"""The Sun and the Earth against jaxnu (MIT, github.com/pgranger23/jaxnu-osc), with its own parameters."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import jaxnu
import numpy as np
import pytest
from jaxnu import constants, earth, layers, solar

from jcevns.physics import (
    Earth,
    MatterNSI,
    OscillationParameters,
    ProductionRegion,
    earth_shells,
    earth_states,
    mass_fractions,
)

ENERGY = np.array([0.3, 1.0, 5.0, 10.0, 15.0])
NADIR = np.array([0.05, 0.2, 0.5, 0.8, 0.9, 1.0])
EPS = np.array([[0.3, 0.1 + 0.2j, -0.2], [0.1 - 0.2j, -0.1, 0.15j], [-0.2, -0.15j, 0.2]])
ORDERINGS = {"normal": 2.515e-3, "inverted": -2.44e-3}


@pytest.fixture(autouse=True)
def _their_promotion():
    """Our tests refuse mixed types (conftest.py); jaxnu relies on JAX's usual rules."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def parameters(ordering: str) -> tuple[jaxnu.OscParams, OscillationParameters]:
    """jaxnu's best fit, for it and for us."""
    theirs = dataclasses.replace(jaxnu.nufit_no(), dm31=jnp.asarray(ORDERINGS[ordering]))
    angles = (theirs.theta12, theirs.theta13, theirs.theta23, theirs.deltacp)
    return theirs, OscillationParameters(*angles, theirs.dm21, theirs.dm31)


def shells_of(model: jaxnu.LayeredEarth) -> Earth:
    return Earth(model.outer, model.density * model.ye, (1 - model.ye) / model.ye)


def their_chords(theirs: jaxnu.OscParams, segments, energy: np.ndarray, nsi=None) -> np.ndarray:
    """Probabilities from mass states to flavours, at NADIR and `energy`, along `segments` of a path."""
    mixing = theirs.pmns()

    def one(cosine, e):
        density, fraction, length = segments(-cosine)
        potential = constants.matter_potential_eV(density, fraction)
        total = layers.propagate_layers(
            mixing, theirs.msquared(), 1e6 * e, potential, length * constants.KM_TO_INV_EV, nsi=nsi
        )
        return jnp.abs(total @ mixing).T ** 2

    grid = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
    return np.asarray(jax.jit(grid)(jnp.asarray(NADIR), jnp.asarray(energy)))


def our_chords(ours: OscillationParameters, model: Earth, energy: np.ndarray, nsi=None) -> np.ndarray:
    states = jax.jit(earth_states)(jnp.asarray(energy), jnp.asarray(NADIR), ours, nsi, model)
    return np.asarray(jnp.einsum("neiaa->neia", states).real)


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_mass_fractions_are_those_of_jaxnu(ordering: str) -> None:
    """What leaves the Sun: eigenvectors there, minors and eigenvalues here."""
    theirs, ours = parameters(ordering)
    straight = solar.SolarProfile(np.array([0.0, 1.0]), np.array([120.0, 0.0]), solar.R_SUN_KM)
    start = np.array([0.0, 0.05, 0.4, 0.9])
    fractions = jax.vmap(
        jax.vmap(
            lambda r, e: solar.adiabatic_mass_fractions(theirs, 1e-3 * e, straight, solar.R_SUN_KM, r),
            in_axes=(None, 0),
        ),
        in_axes=(0, None),
    )
    expected = np.asarray(jax.jit(fractions)(jnp.asarray(start * solar.R_SUN_KM), jnp.asarray(ENERGY)))
    for r, their_own in zip(start, expected, strict=True):
        place = ProductionRegion([120.0 * (1 - r)], [0.5], [1.0])
        found = np.asarray(mass_fractions(jnp.asarray(ENERGY), place, ours))
        assert np.abs(found - their_own).max() < 1e-11
    assert np.ptp(expected[:, -1], axis=0).max() > 0.2  # they do depend on where


@pytest.mark.parametrize("nsi", [False, True])
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_paths_through_the_same_shells_are_those_of_jaxnu(ordering: str, nsi: bool) -> None:
    theirs, ours = parameters(ordering)
    model = earth.prem_layered(4)
    expected = their_chords(
        theirs, lambda c: earth.layered_chord_segments(model, c), ENERGY, jnp.asarray(EPS) if nsi else None
    )
    found = our_chords(ours, shells_of(model), ENERGY, MatterNSI(electron=EPS) if nsi else None)
    assert np.abs(found - expected).max() < 1e-9


def test_paths_through_prem_differ_by_what_is_in_it() -> None:
    """jaxnu takes PREM's polynomials at the middle of each piece of the path; its shells, cut finely, come to that.

    Ours: 25 shells are as far from it as its own default; the smooth profile has no crust and no ocean, which counts
    near the horizon. There PREM's shells are the same, and the electron fractions are all that differs.
    """
    theirs, ours = parameters("normal")
    energy = ENERGY[2:]
    table = earth.shell_table(40)
    fine = their_chords(theirs, lambda c: earth.chord_segments(c, table), energy)

    def apart(model: Earth) -> np.ndarray:
        """Largest difference for each direction."""
        return np.abs(our_chords(ours, model, energy) - fine).max(axis=(1, 2, 3))

    assert apart(shells_of(earth.prem_layered(40))).max() < 1e-4
    prem = earth_shells("prem")
    assert apart(prem).max() < 6e-3
    smooth = apart(earth_shells(shells=60))
    assert 0.01 < smooth[0] < 0.04
    assert smooth[2:].max() < 6e-3
    horizon = apart(prem)[0]
    fraction = jnp.where(prem.radius <= earth.CORE_RADIUS_KM, earth.YE_CORE_DEFAULT, earth.YE_MANTLE_DEFAULT)
    density = prem.density * (1 + prem.neutrons_per_electron) * fraction
    same = Earth(prem.radius, density, (1 - fraction) / fraction)
    assert horizon > 1e-4
    assert apart(same)[0] < 1e-7
