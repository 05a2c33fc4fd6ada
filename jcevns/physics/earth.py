"""Solar neutrinos by night: mass states that cross the Earth regenerate nu_e.

The Earth is cut into shells of constant density; in each, the evolution is exact in three flavours. What
arrives are the mass states, incoherent, so the result is one density matrix per mass state, whatever the source.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jcevns import datasets
from jcevns.constants import HBAR_C
from jcevns.physics.oscillations import (
    MatterNSI,
    OscillationParameters,
    determinant,
    mass_matrix,
    matter_term,
    traceless_eigenvalues,
)
from jcevns.physics.potential import earth_spread
from jcevns.physics.sun import mass_projectors
from jcevns.precision import as_float_array, require_x64
from jcevns.spelling import unknown

__all__ = [
    "Earth",
    "Exposure",
    "earth_shells",
    "earth_states",
    "evolution",
    "half_paths",
    "night_exposure",
    "year_average",
]

LATITUDES = {"lngs": 42.45, "jinping": 28.15, "surf": 44.35}  # degrees north
_PROFILES = ("smooth", "prem")
_TILT = np.radians(23.44)  # of the Earth's axis (IAU 2006: 23.4393 degrees)
PHASE = 1e-12 * 1e18 / HBAR_C / 2  # of 1 eV^2 at 1 MeV after 1 km: eV^2 in MeV^2, km in fm


class Earth(eqx.Module):
    """Shells of constant density, from the centre to the surface.

    Attributes:
        radius: outer radii in km, increasing; the last is that of the Earth.
        density: of electrons, in moles per cm^3.
        neutrons_per_electron: as said.

    Example:
        >>> from jcevns.physics import Earth
        >>> Earth([6371.0], [2.5], [1.0]).density.shape  # one shell
        (1,)
    """

    radius: Float[Array, " shell"] = eqx.field(converter=as_float_array)
    density: Float[Array, " shell"] = eqx.field(converter=as_float_array)
    neutrons_per_electron: Float[Array, " shell"] = eqx.field(converter=as_float_array)


class Exposure(eqx.Module):
    """Directions of the Sun below the horizon, with the time spent there.

    Attributes:
        cos_nadir: cosine of the angle between the Sun and the nadir, from 0 (horizon) to 1.
        weight: share of the night; they add up to one.

    Example:
        >>> from jcevns.physics import Exposure
        >>> Exposure([0.5], [1.0]).weight.shape  # one direction
        (1,)
    """

    cos_nadir: Float[Array, " angle"] = eqx.field(converter=as_float_array)
    weight: Float[Array, " angle"] = eqx.field(converter=as_float_array)


def earth_shells(profile: str = "smooth", shells: int = 8) -> Earth:
    """Electron density of the Earth.

    By night the last few hundred km count: with the thin crust and ocean of PREM, 10 MeV neutrinos regenerate 16%
    less than with the mantle's density up to the surface. No laboratory stands on PREM's ocean.

    Args:
        profile: `smooth`, the polynomials of arXiv:hep-ph/9702343, five layers without crust; or `prem`, 25 shells
            of Phys. Earth Planet. Inter. 25, 297, with crust and ocean.
        shells: into which each layer of `smooth` is cut. With 8, P_ee averaged over a year is within 1e-4 of that
            with many, and along one path through the core within 7e-3: single directions need about 60.

    Example:
        >>> from jcevns.physics import earth_shells
        >>> top = [earth_shells(profile).density[-1] for profile in ("smooth", "prem")]
        >>> [round(float(x), 2) for x in top]  # moles of electrons per cm^3
        [1.67, 0.57]
    """
    if profile not in _PROFILES:
        raise ValueError(unknown("profile of the Earth", profile, _PROFILES))
    if shells < 1:
        raise ValueError(f"shells {shells!r} must be at least 1 per layer")
    table = datasets.read_table("earth_shells_prem")
    fraction, radius = table["electron_fraction"], table["radius_outer_km"]
    if profile == "prem":
        return Earth(radius, table["density_g_per_cm3"] * fraction, (1 - fraction) / fraction)
    layer = datasets.read_table("earth_electron_density")
    bounds = np.concatenate([[0.0], layer["radius_outer"]])
    edges = np.concatenate([np.linspace(a, b, shells + 1)[:-1] for a, b in pairwise(bounds)] + [[1.0]])
    which = np.repeat(np.arange(bounds.size - 1), shells)
    # Mean along the radius.
    square, fourth = (np.diff(edges ** (k + 1)) / (k + 1) / np.diff(edges) for k in (2, 4))
    density = layer["alpha"][which] + layer["beta"][which] * square + layer["gamma"][which] * fourth
    middle = (edges[1:] + edges[:-1]) / 2 * radius[-1]
    fraction = fraction[np.searchsorted(radius, middle)]
    return Earth(edges[1:] * radius[-1], density, (1 - fraction) / fraction)


def night_exposure(latitude: float | str, angles: int = 300, samples: int = 1000) -> Exposure:
    """Where the Sun is by night, averaged over a year on a circular orbit.

    Args:
        latitude: degrees, north positive, or a laboratory: lngs (42.45), jinping (28.15) or surf (44.35).
        angles: number of directions, evenly spaced in the cosine; 300 are within 1e-4 of many in P_ee.
        samples: moments per half year and per half day.

    Example:
        >>> from jcevns.physics import night_exposure
        >>> exposure = night_exposure("lngs")
        >>> round(float((exposure.weight * exposure.cos_nadir).sum()), 3)
        0.467
    """
    if isinstance(latitude, str) and latitude.lower() not in LATITUDES:
        raise ValueError(unknown("site", latitude, LATITUDES, "give a latitude in degrees, or choose from"))
    degrees = LATITUDES[latitude.lower()] if isinstance(latitude, str) else latitude
    if not -90 <= degrees <= 90:
        raise ValueError(f"latitude {degrees!r} must be from -90 to 90 degrees")
    if angles < 2 or samples < 2:
        raise ValueError(f"angles {angles!r} and samples {samples!r} must be at least 2")
    moment = (np.arange(samples) + 0.5) / samples
    north = np.radians(degrees)
    declination = np.arcsin(np.sin(_TILT) * np.cos(np.pi * moment))[:, None]
    hour = np.pi * moment
    # Height of the Sun, turned round: positive by night.
    below = -np.sin(north) * np.sin(declination) - np.cos(north) * np.cos(declination) * np.cos(hour)
    below = below[below > 0]
    edges = np.linspace(0.0, 1.0, angles + 1)
    count, _ = np.histogram(below, edges)
    total, _ = np.histogram(below, edges, weights=below)
    # The mean direction of each bin that was visited.
    seen = count > 0
    return Exposure(total[seen] / count[seen], count[seen] / count.sum())


def half_paths(model: Earth, cos_nadir: Float[Array, " angle"]) -> Float[Array, "shell angle"]:
    """Length in each shell from the surface to the middle of the path, in km; zero in shells that are not met."""
    radius = model.radius[:, None]
    nearest = radius[-1] ** 2 * (1 - cos_nadir**2)
    inside = radius**2 > nearest
    reach = jnp.where(inside, jnp.sqrt(jnp.where(inside, radius**2 - nearest, 1.0)), 0.0)
    return jnp.diff(reach, axis=0, prepend=jnp.zeros_like(reach[:1]))


def evolution(matrix: Complex[Array, "*n 3 3"], phase: Float[Array, "..."]) -> Complex[Array, "... 3 3"]:
    """exp(-i phase M) of a hermitian M without its trace, which is a common phase.

    Newton's interpolation of the exponential at the eigenvalues, whose divided differences stay finite where
    eigenvalues coincide.

    Args:
        matrix: M in eV^2.
        phase: L / (2 E) in eV^-2, of a shape that broadcasts with that of the matrices.
    """
    unit = jnp.eye(3, dtype=complex)
    m = matrix - jnp.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / 3 * unit
    squares = jnp.sum(m.real**2 + m.imag**2, axis=(-2, -1))
    values, (low, high, both) = traceless_eigenvalues(squares, determinant(m))
    x1, x2, x3 = (x * phase for x in values)

    def divided(sum_: Float[Array, "..."], difference: Float[Array, "..."]) -> Complex[Array, "..."]:
        """Of exp(-i x phase) in x, between two eigenvalues."""
        angle = difference * phase / 2
        return _cis(-sum_ / 2) * (-1j * (phase * jnp.sinc(angle / np.pi)).astype(complex))

    first, then = divided(x1 + x2, low), divided(x2 + x3, high)
    second = (then - first) / both.astype(complex)
    near, far = m - _scaled(values[0], unit), m - _scaled(values[1], unit)
    product = near @ far
    return (
        _cis(-x1)[..., None, None] * unit
        + first[..., None, None] * near
        + second[..., None, None] * product
    )  # fmt: skip


def _cis(x: Float[Array, "*n"]) -> Complex[Array, "*n"]:
    return jax.lax.complex(jnp.cos(x), jnp.sin(x))


def _scaled(x: Float[Array, "*n"], matrix: Complex[Array, "3 3"]) -> Complex[Array, "*n 3 3"]:
    return x.astype(complex)[..., None, None] * matrix


def earth_states(
    energy: Float[Array, " energy"],
    cos_nadir: Float[Array, " angle"],
    parameters: OscillationParameters,
    nsi: MatterNSI | None = None,
    model: Earth | None = None,
) -> Complex[Array, "angle energy 3 3 3"]:
    """Density matrix at the detector of each mass state that entered the Earth, in the basis of flavours.

    Args:
        energy: MeV.
        cos_nadir: of the Sun's direction: 1 for a path through the centre, 0 along the horizon.
        parameters: masses and mixing.
        nsi: of the neutrinos with the Earth's matter; none if absent.
        model: of the Earth; `earth_shells` if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.physics import earth_states, nufit60
        >>> states = earth_states(jnp.array([10.0]), jnp.array([0.0, 0.7]), nufit60())
        >>> [round(float(x), 3) for x in states[:, 0, 1, 0, 0].real]  # nu_2 to nu_e
        [0.301, 0.333]
    """
    require_x64("neutrino oscillations")
    model = earth_shells() if model is None else model
    nsi = MatterNSI() if nsi is None else nsi
    vacuum, charges = mass_matrix(parameters), nsi.charges(model.neutrons_per_electron, earth_spread)
    matter = matter_term(energy, model.density[:, None])
    matrices = vacuum + matter.astype(complex)[..., None, None] * charges[:, None]

    def cross(inner, shell):
        """One shell more, crossed before and after all that lies within."""
        matrix, length = shell
        step = evolution(matrix, PHASE * length[:, None] / energy)
        return step @ inner @ step, None

    start = jnp.broadcast_to(jnp.eye(3, dtype=complex), (cos_nadir.shape[0], energy.shape[0], 3, 3))
    through, _ = jax.lax.scan(cross, start, (matrices, half_paths(model, cos_nadir)))
    return jnp.einsum("neac,icd,nebd->neiab", through, mass_projectors(parameters), through.conj())


def year_average(
    energy: Float[Array, " energy"],
    exposure: Exposure,
    parameters: OscillationParameters,
    nsi: MatterNSI | None = None,
    model: Earth | None = None,
    day: float = 0.5,
) -> Complex[Array, "energy 3 3 3"]:
    """Density matrix at the detector of each mass state, averaged over a year.

    Args:
        energy: MeV.
        exposure: directions by night, see `night_exposure`.
        parameters: masses and mixing.
        nsi: of the neutrinos with the Earth's matter; none if absent.
        model: of the Earth; `earth_shells` if absent.
        day: share of the day: 0.5 over a year everywhere, 0 for the nights alone.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.physics import night_exposure, nufit60, solar_density_matrix, year_average
        >>> energy, exposure = jnp.array([10.0]), night_exposure("lngs")
        >>> night = year_average(energy, exposure, nufit60(), day=0.0)
        >>> round(float(solar_density_matrix(energy, "b8", nufit60(), states=night)[0, 0, 0].real), 3)
        0.338
    """
    nights = earth_states(energy, exposure.cos_nadir, parameters, nsi, model)
    night = jnp.einsum("n,neiab->eiab", exposure.weight.astype(complex), nights)
    return day * mass_projectors(parameters) + (1 - day) * night
