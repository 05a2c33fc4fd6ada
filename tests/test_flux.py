"""Moments of the neutrino fluxes against SciPy quadrature, and the messages of bad fluxes."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jcevns.datasets import read_table
from jcevns.physics import NeutrinoFlux, b8, hep
from jcevns.physics.flux import B8_SHAPES, density, inverse_energy_moments

FLOOR = 1e-3  # MeV, below which the moments start
E_MIN = (0.0, 0.05, 2.0, 5.0, 7.3211, 10.1234, 14.9, 15.5)  # 5.0 is a node of both tables
FLUXES = {**{shape: lambda shape=shape: b8(shape) for shape in B8_SHAPES}, "hep": hep}
TABLES = {**B8_SHAPES, "hep": "hep_spectrum"}
moments = jax.jit(inverse_energy_moments)


def quadrature(table: str, e_min: float, power: int) -> float:
    """Integral of shape(E)/E^k above e_min, segment by segment."""
    columns = read_table(table)
    nodes, values = columns["energy_MeV"], columns["density_per_MeV"]
    start = max(e_min, FLOOR)
    cuts = [start, *nodes[nodes > start]]
    return sum(
        quad(lambda E: np.interp(E, nodes, values) / E**power, a, b, epsabs=0, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(cuts)
    )


@pytest.mark.parametrize("name", FLUXES)
def test_moments_are_those_of_quadrature(name) -> None:
    expected = [[quadrature(TABLES[name], e, k) for e in E_MIN] for k in range(3)]
    np.testing.assert_allclose(moments(FLUXES[name](), jnp.asarray(E_MIN)), expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", FLUXES)
def test_unit_area(name) -> None:
    assert float(moments(FLUXES[name](), jnp.asarray([0.0]))[0, 0]) == pytest.approx(1.0, abs=5e-5)


@pytest.mark.parametrize("name", FLUXES)
def test_edges(name) -> None:
    flux = FLUXES[name]()
    end = float(flux.energy[-1])
    M = np.asarray(moments(flux, jnp.asarray([-1.0, 0.0, FLOOR, end, np.nextafter(end, 99.0), end + 5.0, 1e4])))
    np.testing.assert_array_equal(M[:, 0], M[:, 1])
    np.testing.assert_array_equal(M[:, 0], M[:, 2])
    np.testing.assert_array_equal(M[:, 3:], 0.0)
    assert np.isfinite(M).all()


def test_continuous_across_a_node() -> None:
    node = float(b8().energy[50])
    below, at, above = moments(b8(), jnp.asarray([node * (1 - 1e-14), node, node * (1 + 1e-14)])).T
    np.testing.assert_allclose(below, at, rtol=1e-12)
    np.testing.assert_allclose(above, at, rtol=1e-12)


def test_slope_in_the_lower_limit_is_minus_the_integrand() -> None:
    flux = b8()
    e_min = jnp.asarray([0.5, 3.33, 9.0, 14.0])
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda e: inverse_energy_moments(flux, e))))(e_min).T
    integrand = np.asarray(density(flux, e_min))
    np.testing.assert_allclose(slope, [-integrand / np.asarray(e_min) ** k for k in range(3)], rtol=1e-9)


def test_slope_beyond_the_ends_is_finite() -> None:
    slope = jax.jit(jax.vmap(jax.grad(lambda e: inverse_energy_moments(b8(), e).sum())))(
        jnp.asarray([-1.0, 0.0, 40.0])
    )
    assert np.isfinite(slope).all()
    assert float(slope[2]) == 0.0


def test_density_is_the_table_and_zero_outside() -> None:
    table = read_table("b8_spectrum_bahcall1996")
    middle = (table["energy_MeV"][1:] + table["energy_MeV"][:-1]) / 2
    mean = (table["density_per_MeV"][1:] + table["density_per_MeV"][:-1]) / 2
    np.testing.assert_allclose(density(b8(), jnp.asarray(middle)), mean, rtol=1e-12)
    np.testing.assert_array_equal(density(b8(), jnp.asarray([-0.1, 20.0])), 0.0)


def test_shift_moves_the_winter_shape_by_its_error() -> None:
    table = read_table("b8_spectrum_winter2006")
    for shift in (-1.0, 0.5, 1.0):
        expected = table["density_per_MeV"] + shift * table["shift_per_MeV"]
        np.testing.assert_allclose(b8("winter2006", shift).shape, np.where(expected > 0, expected, 0.0), rtol=1e-14)


def test_totals() -> None:
    assert float(b8().total) == 5.46e6
    assert float(hep().total) == 7.98e3
    assert (b8().name, hep().name) == ("b8", "hep")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"shape": "ortiz"}, ("'ortiz'", "bahcall1996", "winter2006")),
        ({"shift": 1.0}, ("bahcall1996", "winter2006")),
        ({"total": -1.0}, ("-1.0", "not negative")),
        ({"total": float("nan")}, ("nan", "finite")),
        ({"total": float("inf")}, ("inf", "finite")),
    ],
)
def test_bad_b8(arguments, parts) -> None:
    with pytest.raises(ValueError, match=r"8B|shape") as error:
        b8(**arguments)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("energy", [[1.0, 1.0], [2.0, 1.0], [1.0]])
def test_nodes_must_increase(energy) -> None:
    nodes = jnp.asarray(energy)
    with pytest.raises(ValueError, match="flux 'mine': energies must increase"):
        NeutrinoFlux(nodes, jnp.ones_like(nodes), jnp.asarray(1.0), "mine")
