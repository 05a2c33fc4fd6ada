"""What a light vector boson does to neutrinos on their way: its potential in the Sun and in the Earth.

V_f = q_f g^2 sum_x Q_x <n_x>/m^2 for a neutrino of charge q_f, with electrons, protons and neutrons x, and a density
averaged over the range of the boson, <n>(r) = m^2 int d^3s n(s) exp(-m |r - s|)/(4 pi |r - s|): the density itself
above 1e-18 MeV, where the range is some thousandth of the Sun's radius (arXiv:2009.14220). In units of sqrt2 G_F n_e
this is eps = q_f Q_x g^2/(sqrt2 G_F m^2) of non-standard interactions, whatever the momentum transfer in a detector.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jcevns import datasets
from jcevns.constants import FERMI_CONSTANT, HBAR_C
from jcevns.precision import as_float_array

__all__ = ["Spread", "VectorPotential", "earth_spread", "solar_spread"]

Spread = Callable[[Float[Array, ""]], tuple[Float[Array, "*n"], Float[Array, "*n"]]]
"""Mass in MeV to <n_x>/(n_x m^2) in MeV^-2 of electrons and of neutrons."""

SOLAR_RADIUS = 6.957e5
"""km (IAU 2015 resolution B3)."""

EARTH_RADIUS = 6371.0
"""km."""

_KM = 1e18 / HBAR_C  # in MeV^-1
_SCALE = 10.54  # radii over that of the Sun: slope of ln n_e beyond the table (Bahcall, Neutrino Astrophysics, 1989)
_NARROW = 30.0  # radii over range: above, what counts is the difference from the local density
_MOST = 1e5  # eps beyond which nothing changes, but rounding would: a flavour is decoupled


class VectorPotential(eqx.Module):
    """Potential of a vector boson that couples to matter and to each neutrino.

    Attributes:
        mass: MeV.
        coupling: g, its square multiplied by the charges below.
        flavours: charges of nu_e, nu_mu, nu_tau.
        charged: charges of the electron and the proton added: neutral matter has as many of both.
        neutron: charge of the neutron.

    Example:
        >>> from jcevns.physics.potential import VectorPotential
        >>> boson = VectorPotential(10.0, 2e-5, [0.0, 0.0, -3.0], 1.0, 1.0)
        >>> potential = boson.charges(0.5).diagonal().real
        >>> round((potential[2] - potential[0]).item(), 3)  # -3 * (1 + 0.5) * 2.425e-1
        -1.091
    """

    mass: Float[Array, ""] = eqx.field(converter=as_float_array)
    coupling: Float[Array, ""] = eqx.field(converter=as_float_array)
    flavours: Float[Array, "3"] = eqx.field(converter=as_float_array)
    charged: Float[Array, ""] = eqx.field(converter=as_float_array)
    neutron: Float[Array, ""] = eqx.field(converter=as_float_array)

    def charges(
        self, neutrons_per_electron: Float[Array, "*n"] | float, spread: Spread | None = None
    ) -> Complex[Array, "*n 3 3"]:
        """Potential over sqrt2 G_F n_e in neutral matter, but for what all flavours share.

        Up to 1e5, where the flavour has long decoupled: beyond, rounding would mix the others.

        Args:
            neutrons_per_electron: as said.
            spread: average over the range of the boson; absent for a short one.
        """
        ratio = jnp.asarray(neutrons_per_electron)
        electrons, neutrons = (1 / self.mass**2, 1 / self.mass**2) if spread is None else spread(self.mass)
        strength = self.coupling**2 / (np.sqrt(2.0).item() * FERMI_CONSTANT)
        size = strength * (electrons * self.charged + neutrons * ratio * self.neutron)
        size = size[..., None] * (self.flavours - jnp.mean(self.flavours))  # what is common is a phase
        size = size / jnp.sqrt(1 + (size / _MOST) ** 2)
        return (size[..., None] * jnp.eye(3)).astype(complex)


def earth_spread(mass: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """For the Earth as a sphere of even density seen from its middle: 1 but where the range is some 1000 km or more.

    Args:
        mass: MeV.
    """
    x = jnp.maximum(mass * (EARTH_RADIUS * _KM), 1e-3)  # below, constant: to 1e-3 of what is then nothing
    found = -(jnp.expm1(-x) + x * jnp.exp(-x)) / x**2 * (EARTH_RADIUS * _KM) ** 2
    return found, found


class _Averages(NamedTuple):
    """Natural logarithms of <n>(1 + x^2)/(n x^2) with x the Sun's radius over the range, at even steps of ln x.

    Attributes:
        values: of electrons and of neutrons, at some radii.
        slopes: in ln x.
    """

    values: Float[np.ndarray, "2 node mass"]
    slopes: Float[np.ndarray, "2 node mass"]


_LOGARITHMS = np.linspace(np.log(1e-4), np.log(1e4), 125)  # of x; beyond, the limits hold


@lru_cache
def _averages(radius: tuple[float, ...]) -> _Averages:
    """For the B16-GS98 model to half the radius; from there exponential, a thousandth of the electrons."""
    table, composition = datasets.read_table("solar_production_b16"), datasets.read_table("solar_composition_b23")
    inner, electrons = table["radius"], 10 ** table["log10_electron_density"]
    s = np.linspace(0.0, 1.0, 2001)
    density = np.interp(s, inner, electrons)
    beyond = s > inner[-1]
    density[beyond] = electrons[-1] * np.exp(-_SCALE * (s[beyond] - inner[-1]))
    ratio = np.interp(s, composition["radius"], composition["neutrons_per_electron"])
    r = np.maximum(np.asarray(radius), s[1] / 10)[:, None]
    near, apart, least = s / r * s[1], np.abs(r - s), np.minimum(r, s)
    found = np.zeros((2, r.size, _LOGARITHMS.size))
    for k, x in enumerate(np.exp(_LOGARITHMS)):
        kernel = near * np.exp(-x * apart) * -np.expm1(-2 * x * least) / (2 * x)
        # Of a sphere of even density, 1 - (1 + x) exp(-x) sinh(x r)/(x r), over x^2.
        outside = (1 + x) * np.exp(-x * (1 - r[:, 0])) * -np.expm1(-2 * x * r[:, 0]) / (2 * x * r[:, 0])
        even = (1 - outside) / x**2
        for row, values in zip(found, (density, density * ratio), strict=True):
            relative = values / np.interp(r, s, values)
            # A narrow kernel is a spike that the steps miss, but it is known what an even density gives.
            mean = kernel @ np.ones_like(s) if x < _NARROW else even
            row[:, k] = np.log((np.sum(kernel * (relative - 1), axis=1) + mean) * (1 + x**2))
    return _Averages(found, np.asarray(np.gradient(found, _LOGARITHMS, axis=-1)))


def solar_spread(radius: tuple[float, ...], shape: tuple[int, ...] = (-1,)) -> Spread:
    """Averages over the range of a boson at some distances from the centre of the Sun.

    Args:
        radius: in units of the Sun's.
        shape: of what is returned.
    """
    places, which = np.unique(radius, return_inverse=True)
    first, step = float(_LOGARITHMS[0]), float(_LOGARITHMS[1] - _LOGARITHMS[0])

    def average(mass: Float[Array, ""]) -> tuple[Array, Array]:
        table = _averages(tuple(places.tolist()))
        x = mass * (SOLAR_RADIUS * _KM)
        place = (jnp.log(jnp.maximum(x, np.exp(first))) - first) / step
        place = jnp.minimum(place, _LOGARITHMS.size - 1.0)
        start = jnp.minimum(jnp.floor(place), _LOGARITHMS.size - 2.0)
        i, t = start.astype(int), place - start
        rest = 1 - t
        values, slopes = (jnp.asarray(part) for part in table)
        logarithm = (1 + 2 * t) * rest**2 * values[..., i] + (3 - 2 * t) * t**2 * values[..., i + 1]
        logarithm = logarithm + step * (t * rest**2 * slopes[..., i] - t**2 * rest * slopes[..., i + 1])
        # As written, 1/x^2 to all digits where the range is short: the table ends there.
        short = x > np.exp(_LOGARITHMS[-1])
        both = jnp.where(short, 0.0, logarithm)
        found = jnp.exp(both) * (SOLAR_RADIUS * _KM) ** 2 / (1 + x**2)
        return found[0, which].reshape(shape), found[1, which].reshape(shape)

    return average
