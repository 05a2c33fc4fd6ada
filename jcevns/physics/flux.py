"""Neutrino fluxes and their moments over energy."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.precision import as_float_array
from jcevns.spelling import unknown

__all__ = [
    "B8_FLUX",
    "B8_RELATIVE_ERROR",
    "B8_SHAPES",
    "NeutrinoFlux",
    "b8",
    "density",
    "hep",
    "inverse_energy_moments",
]

B8_FLUX = 5.46e6
"""Total 8B flux of the B16-GS98 standard solar model in cm^-2 s^-1 (card `solar_fluxes_b16`)."""

B8_RELATIVE_ERROR = 0.12
"""Its relative 1 sigma error."""

B8_SHAPES = {"bahcall1996": "b8_spectrum_bahcall1996", "winter2006": "b8_spectrum_winter2006"}
"""8B spectral shapes and the card of each."""

_LOWEST_ENERGY = 1e-3  # MeV; the recoils below, T < 2e-8 keV, are out of reach of any detector


class NeutrinoFlux(eqx.Module):
    """A flux: unit-area spectrum, linear between nodes, times a total.

    Attributes:
        energy: nodes in MeV, increasing.
        shape: density at the nodes in MeV^-1.
        total: cm^-2 s^-1.
        name: which flux this is. Theories and nuisances that act on a flux find it by name.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flat = jc.NeutrinoFlux([0.0, 10.0], [0.1, 0.1], 1e6, "flat")
        >>> events = jc.counts_above(jc.StandardModel(), flat, jc.xenon(), jnp.array([0.5]))
        >>> round(float(events[0]), 2)  # events per tonne-year above 0.5 keV
        25.99
    """

    energy: Float[Array, " energy"] = eqx.field(converter=as_float_array)
    shape: Float[Array, " energy"] = eqx.field(converter=as_float_array)
    total: Float[Array, ""] = eqx.field(converter=as_float_array)
    name: str = eqx.field(static=True)

    def __check_init__(self):
        if isinstance(self.energy, Tracer) or not eqx.is_array(self.energy):
            return
        energy = np.asarray(self.energy)
        if energy.ndim != 1 or energy.size < 2 or np.any(np.diff(energy) <= 0):
            raise ValueError(f"flux {self.name!r}: energies must increase and be at least two, in MeV")


def b8(shape: str = "bahcall1996", shift: float = 0.0, total: float = B8_FLUX) -> NeutrinoFlux:
    """Solar 8B flux.

    Args:
        shape: `bahcall1996` (PRC 54, 411; XENONnT's templates fold back with it) or `winter2006` (PRC 73, 025503).
        shift: deformation of the Winter 2006 shape in units of its correlated 1 sigma error.
        total: cm^-2 s^-1.

    Raises:
        ValueError: unknown shape, a shift of a shape that has none, or a negative total.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flux = jc.b8()
        >>> round(float(jnp.trapezoid(flux.energy * flux.shape, flux.energy)), 2)  # mean energy in MeV
        6.74
    """
    if shape not in B8_SHAPES:
        raise ValueError(unknown("8B shape", shape, B8_SHAPES))
    if not np.isfinite(total) or total < 0:
        raise ValueError(f"8B flux {total!r} cm^-2 s^-1 must be finite and not negative")
    table = datasets.read_table(B8_SHAPES[shape])
    values = table["density_per_MeV"]
    if "shift_per_MeV" in table:
        values = np.maximum(values + shift * table["shift_per_MeV"], 0.0)
    elif shift != 0.0:
        raise ValueError(f"the {shape} shape has no tabulated error: shift needs shape='winter2006'")
    return NeutrinoFlux(as_float_array(table["energy_MeV"]), as_float_array(values), jnp.asarray(float(total)), "b8")


def hep(total: float = 7.98e3) -> NeutrinoFlux:
    """Solar hep flux, B16-GS98 total in cm^-2 s^-1 (arXiv:1611.09867); adds under 1% above 1 keV.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> events = jc.counts_above(jc.StandardModel(), jc.hep(), jc.xenon(), jnp.array([1.0]))
        >>> round(float(events[0]), 3)  # events per tonne-year above 1 keV
        0.844
    """
    table = datasets.read_table("hep_spectrum")
    return NeutrinoFlux(
        as_float_array(table["energy_MeV"]),
        as_float_array(table["density_per_MeV"]),
        jnp.asarray(float(total)),
        "hep",
    )


def density(flux: NeutrinoFlux, energy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Unit-area spectrum at `energy` (MeV), in MeV^-1; zero outside the nodes."""
    return jnp.interp(energy, flux.energy, flux.shape, left=0.0, right=0.0)


def inverse_energy_moments(flux: NeutrinoFlux, e_min: Float[Array, "*shape"]) -> Float[Array, "3 *shape"]:
    """M_k = integral of shape(E)/E^k over E > e_min, k = 0, 1, 2, exact for a piecewise-linear shape.

    The E integral of eq. 11 of arXiv:2411.11749 depends on the recoil energy only through `e_min`, and
    every CEvNS cross section is a polynomial in 1/E of degree two: these moments are all it needs.

    Args:
        flux: the spectrum.
        e_min: lower limits in MeV, any shape. Zero and below are read as 1e-3 MeV.

    Returns:
        Moments in MeV^-k, shape (3, *e_min.shape); zero at and above the end point.
    """
    nodes = jnp.maximum(flux.energy, _LOWEST_ENERGY)
    slope = jnp.diff(flux.shape) / jnp.diff(flux.energy)
    origin = flux.shape[:-1] - slope * flux.energy[:-1]

    def segment(lower, upper, a, b):
        """Integrals of (a + b E)/E^k between two energies of one segment, by two-point differences."""
        width = upper - lower
        log = jnp.log(upper / lower)
        return jnp.stack(
            [
                width * (a + b * (upper + lower) / 2),
                a * log + b * width,
                a * width / (upper * lower) + b * log,
            ]
        )

    whole = segment(nodes[:-1], nodes[1:], origin, slope)
    above = jnp.concatenate([jnp.cumsum(whole[:, ::-1], axis=1)[:, ::-1], jnp.zeros_like(whole[:, :1])], axis=1)
    e_min = jnp.clip(e_min, nodes[0], nodes[-1])
    index = jnp.clip(jnp.searchsorted(flux.energy, e_min, side="right") - 1, 0, slope.size - 1)
    partial = segment(e_min, nodes[index + 1], origin[index], slope[index])
    return partial + above[:, index + 1]
