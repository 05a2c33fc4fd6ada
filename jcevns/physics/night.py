"""Night of a year in closed form: what the Earth does to solar neutrinos, at the price of a few 3 x 3 matrices.

`year_average` follows thousands of paths; a scan cannot. Here the eigenstates in the matter below the detector are
exact, whatever the interactions. The rest of the path, where its density differs from that one, acts to first order,
and the average over all paths of a year is a Fourier transform, tabulated once: far structures hardly matter
(arXiv:hep-ph/0404060).
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jcevns.physics.earth import PHASE, earth_shells, night_exposure
from jcevns.physics.oscillations import (
    MATTER,
    MatterNSI,
    OscillationParameters,
    determinant,
    mass_matrix,
    matter_term,
    traceless_eigenvalues,
)
from jcevns.physics.potential import earth_spread

__all__ = ["Paths", "night_density_matrix", "paths_of_a_year"]

_ANGLES, _SAMPLES = 1000, 1500
_STEP, _COUNT = 4.0, 2**16  # km along the path, and their number in the transform
_HIGHEST = 0.08  # km^-1: shorter oscillations feel the last few km alone
_SHELLS = 60


class Paths(NamedTuple):
    """Averages over the nights of a year, at even steps of a wave number k in km^-1, with their slopes in k.

    Attributes:
        step: of k.
        damping: mean of exp(-i k L) over the lengths L of the paths.
        slope: of the damping.
        excess: mean of the integral of (n_e(s) - surface) exp(-i k s) over the distance s to the detector, in km
            times moles per cm^3.
        excess_slope: of the excess.
        surface: electron density below the detector, in moles per cm^3.
        neutrons_per_electron: there.
    """

    step: float
    damping: Complex[np.ndarray, " k"]
    slope: Complex[np.ndarray, " k"]
    excess: Complex[np.ndarray, " k"]
    excess_slope: Complex[np.ndarray, " k"]
    surface: float
    neutrons_per_electron: float


@lru_cache
def paths_of_a_year(site: float | str) -> Paths:
    """Averages over all paths through the Earth to a detector.

    Args:
        site: latitude in degrees, or a laboratory, as for `night_exposure`.

    Example:
        >>> from jcevns.physics.night import paths_of_a_year
        >>> paths = paths_of_a_year("lngs")
        >>> round(float(abs(paths.damping[0])), 6), round(paths.surface, 2)
        (1.0, 1.67)
    """
    with jax.ensure_compile_time_eval():  # kept: these must be numbers, also where a function is being traced
        exposure, model = night_exposure(site, _ANGLES, _SAMPLES), earth_shells(shells=_SHELLS)
    cosine, weight = np.asarray(exposure.cos_nadir), np.asarray(exposure.weight)
    radius, density = np.asarray(model.radius), np.asarray(model.density)
    length = 2 * radius[-1] * cosine
    distance = (np.arange(int(2 * radius[-1] / _STEP) + 1) + 0.5) * _STEP
    mean = np.zeros_like(distance)
    for one, share in zip(length, weight, strict=True):
        inside = distance[distance < one]
        depth = np.sqrt(radius[-1] ** 2 + inside**2 - inside * one)
        shell = np.minimum(np.searchsorted(radius, depth), radius.size - 1)
        mean[: inside.size] += share * (density[shell] - density[-1])
    kept = int(_HIGHEST * _COUNT * _STEP / (2 * np.pi))
    wave = 2 * np.pi * np.arange(kept) / (_COUNT * _STEP)
    top = np.clip((wave / _HIGHEST - 0.75) / 0.2, 0, 1)
    window, bent = 1 - top**2 * (3 - 2 * top), -6 * top * (1 - top) / (0.2 * _HIGHEST)

    def transform(values: np.ndarray) -> np.ndarray:
        return np.exp(-0.5j * wave * _STEP) * np.fft.fft(values, _COUNT)[:kept] * _STEP

    excess, slope = transform(mean), transform(-1j * distance * mean)
    phases = np.exp(-1j * wave[:, None] * length)
    damping, damping_slope = phases @ weight, phases @ (-1j * length * weight)
    return Paths(
        float(wave[1]),
        damping * window,
        damping_slope * window + damping * bent,
        excess * window,
        slope * window + excess * bent,
        float(density[-1]),
        float(np.asarray(model.neutrons_per_electron)[-1]),
    )


def _interpolated(step: float, values: np.ndarray, slopes: np.ndarray, k: Float[Array, "*n"]) -> Array:
    """Cubics through values and slopes of several tables, one in a row; zero beyond the last."""
    last = values.shape[-1]
    place = jnp.clip(k / step, 0.0, last - 1.001)
    first = jnp.floor(place)
    i = first.astype(int)
    t = place - first
    rest = 1 - t
    # Of the values at both ends, then of the slopes there.
    weights = jnp.stack([(1 + 2 * t) * rest**2, (3 - 2 * t) * t**2, step * t * rest**2, -step * t**2 * rest])
    ends = np.stack([values[:, :-1], values[:, 1:], slopes[:, :-1], slopes[:, 1:]])
    found = jnp.sum(jnp.asarray(ends)[:, :, i] * weights[:, None].astype(complex), axis=0)
    return jnp.where(k < step * (last - 1), found, 0.0)


def night_density_matrix(
    day: Complex[Array, "energy 3 3"],
    energy: Float[Array, " energy"],
    parameters: OscillationParameters,
    nsi: MatterNSI | None = None,
    site: float | str = "lngs",
) -> Complex[Array, "energy 3 3"]:
    """Density matrix at the detector, averaged over the nights of a year.

    Positive, hermitian and of trace one: a dephasing between the eigenstates below the detector, then a rotation.

    Args:
        day: density matrix of what arrives at the Earth, a mixture of mass states, see `solar_density_matrix`.
        energy: MeV.
        parameters: masses and mixing.
        nsi: of the neutrinos with the Earth's matter; none if absent.
        site: of the detector, as for `night_exposure`.
    """
    paths, nsi = paths_of_a_year(site), MatterNSI() if nsi is None else nsi
    charges = nsi.charges(paths.neutrons_per_electron, earth_spread)
    matter = matter_term(energy, jnp.asarray(paths.surface)).astype(complex)
    unit = jnp.eye(3, dtype=complex)
    m = mass_matrix(parameters) + matter[:, None, None] * charges
    m = m - jnp.trace(m, axis1=-2, axis2=-1)[:, None, None] / 3 * unit
    values, (low, high, both) = traceless_eigenvalues(jnp.sum(m.real**2 + m.imag**2, axis=(-2, -1)), determinant(m))
    x = m - jnp.stack(values[:2]).astype(complex)[..., None, None] * unit
    third = m - values[2].astype(complex)[:, None, None] * unit
    # All pairs at once, in as few operations as can be: this is compiled with its derivatives.
    sides = jnp.stack([x[1], x[0]]) @ jnp.stack([third, x[1]])
    sides = sides / jnp.stack([low * both, high * both]).astype(complex)[..., None, None]
    states = jnp.stack([sides[0], unit - sides[0] - sides[1], sides[1]])
    damping, excess = _interpolated(
        paths.step,
        np.stack([paths.damping, paths.excess]),
        np.stack([paths.slope, paths.excess_slope]),
        PHASE * jnp.stack([low, high, both]) / energy,
    )
    # Of the pairs (0, 1), (1, 2), (0, 2) of states, then of a state with itself.
    mixed = _between(states, damping, jnp.ones_like(damping[0]), day)
    turn = _between(states, excess, jnp.zeros_like(excess[0]), jnp.broadcast_to(charges, day.shape))
    step = _rotation(float(MATTER * PHASE) * turn)
    return step @ mixed @ step.conj().swapaxes(-1, -2)


def _between(
    states: Complex[Array, "3 n 3 3"], pairs: Complex[Array, "3 n"], own: Complex[Array, " n"], matrix: Array
) -> Complex[Array, "n 3 3"]:
    """Sum of P_j M P_i over all states, times a factor of each pair (0, 1), (1, 2), (0, 2), conjugate in reverse."""
    a, b, c = pairs
    factors = jnp.stack([own, a, c, a.conj(), own, b, c.conj(), b.conj(), own]).reshape(3, 3, -1)
    right = jnp.einsum("ijn,inab->jnab", factors, states)
    return jnp.sum(states @ matrix @ right, axis=0)


def _rotation(h: Complex[Array, "*n 3 3"]) -> Complex[Array, "*n 3 3"]:
    """(1 - i h/2)/(1 + i h/2), unitary: exp(-i h) but for h^3/12, and smooth at zero."""
    unit = jnp.eye(3, dtype=complex)
    a = unit + 0.5j * h
    square, trace = a @ a, jnp.trace(a, axis1=-2, axis2=-1)[..., None, None]
    minors = (trace**2 - jnp.trace(square, axis1=-2, axis2=-1)[..., None, None]) / 2
    adjugate = square - trace * a + minors * unit
    norm = jnp.trace(adjugate @ a, axis1=-2, axis2=-1)[..., None, None] / 3
    return (unit - 0.5j * h) @ (adjugate / norm)
