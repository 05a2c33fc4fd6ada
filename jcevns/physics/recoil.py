"""Recoil spectrum dR/dT: flux times cross section, summed over flavours and the particles of a target."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.constants import CM2_PER_INVERSE_MEV2, ELECTRON_MASS, KEV, PER_MEV_TO_PER_KEV, SECONDS_PER_YEAR
from jcevns.physics.cross_sections import (
    AbstractInteraction,
    AbstractInverseEnergyInteraction,
    StandardModel,
    maximum_recoil,
    minimum_energy,
)
from jcevns.physics.electrons import ElectronTarget
from jcevns.physics.flux import B8_FLUX, NeutrinoFlux, flavour_moments
from jcevns.physics.nuclei import Nucleus, Target
from jcevns.precision import as_float_array

__all__ = [
    "BLOCK",
    "AnyTarget",
    "AnyTheory",
    "TabulatedSpectrum",
    "Theory",
    "as_theory",
    "by_blocks",
    "counts_above",
    "flux_moments",
    "load_spectrum",
    "recoil_spectrum",
]

BLOCK = 128
"""Recoil energies come in multiples of this, so that what one detector compiles serves the next."""

_RATE_UNIT = SECONDS_PER_YEAR * CM2_PER_INVERSE_MEV2 * PER_MEV_TO_PER_KEV  # 1.2e-17: safe in float32
_ENERGY_NODES = 3  # Gauss-Legendre nodes per flux segment for interactions without closed moments


class Theory(eqx.Module):
    """One point of theory space: an interaction and the solar 8B flux.

    Attributes:
        interaction: cross section model.
        b8_flux: total 8B flux in cm^-2 s^-1; replaces the total of every flux named `b8`.

    Example:
        >>> import jcevns as jc
        >>> theory = jc.Theory(jc.StandardModel(sin2w=0.25), b8_flux=5e6)
        >>> round(float(jc.signal_counts(jc.experiment("xenonnt-2024-s2"), theory).sum()), 2)  # events
        10.87
    """

    interaction: AbstractInteraction = eqx.field(default_factory=StandardModel)
    b8_flux: Float[Array, ""] = eqx.field(converter=as_float_array, default=B8_FLUX)

    def __check_init__(self):
        if isinstance(self.b8_flux, Tracer):
            return
        value = np.asarray(self.b8_flux)
        if not np.all((value >= 0.0) & (value < np.inf)):
            raise ValueError(f"8B flux {value!s} cm^-2 s^-1 must be finite and not negative")


class TabulatedSpectrum(eqx.Module):
    """Any recoil spectrum as a theory: a table of dR/dT, linear between its energies, zero outside, times a strength.

    It replaces the neutrino signal: flux and cross section do not enter.

    Attributes:
        recoil_keV: increasing recoil energies in keV.
        rate: dR/dT at full efficiency in events/(tonne year keV).
        strength: factor on the whole.

    Example:
        >>> import jcevns as jc
        >>> spectrum = jc.TabulatedSpectrum([0.5, 1.0, 3.0], [40.0, 20.0, 0.0])  # keV, events/(tonne year keV)
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), spectrum)
        >>> [round(n, 2) for n in counts.tolist()]  # events per bin
        [0.59, 1.4, 1.43]
    """

    recoil_keV: Float[Array, " node"] = eqx.field(converter=as_float_array)
    rate: Float[Array, " node"] = eqx.field(converter=as_float_array)
    strength: Float[Array, ""] = eqx.field(converter=as_float_array, default=1.0)

    def __check_init__(self):
        if any(isinstance(x, Tracer) for x in (self.recoil_keV, self.rate, self.strength)):
            return
        energy, rate = np.asarray(self.recoil_keV), np.asarray(self.rate)
        if energy.shape != rate.shape or energy.size < 2 or not (np.all(np.diff(energy) > 0) and energy[0] >= 0):
            raise ValueError("recoil spectrum: energies must be at least two, increase and not be negative (keV)")
        if not np.all(np.isfinite(rate) & (rate >= 0)):
            raise ValueError("recoil spectrum: dR/dT must be finite and not negative, in events/(tonne year keV)")
        if not np.all(np.isfinite(np.asarray(self.strength))):
            raise ValueError(f"recoil spectrum: strength {self.strength!s} must be finite")


def load_spectrum(path: str | Path) -> TabulatedSpectrum:
    """A recoil spectrum from a CSV with the columns recoil_keV and events_per_tonne_year_keV, full efficiency.

    Raises:
        ValueError: a bad file; file, line and column are named.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jcevns as jc
        >>> text = '''recoil_keV,events_per_tonne_year_keV
        ... 0.5,40
        ... 3.0,0'''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mine.csv").write_text(text)
        ...     spectrum = jc.load_spectrum(f"{folder}/mine.csv")
        >>> spectrum.rate.tolist()  # events/(tonne year keV)
        [40.0, 0.0]
    """
    table = datasets.read_csv(Path(path), ("recoil_keV", "events_per_tonne_year_keV"))
    try:
        return TabulatedSpectrum(table["recoil_keV"], table["events_per_tonne_year_keV"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


AnyTheory = Theory | AbstractInteraction | TabulatedSpectrum
"""What predicts a signal."""

AnyTarget = Target | ElectronTarget
"""What neutrinos scatter off."""


def as_theory(theory: AnyTheory) -> Theory | TabulatedSpectrum:
    """A theory as it is, or an interaction at the nominal 8B flux."""
    return Theory(theory) if isinstance(theory, AbstractInteraction) else theory


def flux_moments(
    flux: NeutrinoFlux, target: AnyTarget, recoil_keV: Float[Array, " recoil"]
) -> Float[Array, "flavour particle 3 recoil"]:
    """M_k of every flavour above the kinematic threshold on each isotope, or on an electron.

    All that a theory scan needs of the flux. One row of flavours where the flux does not tell them.
    """
    return by_blocks(lambda energies: _moments(flux, target, energies), recoil_keV)


def by_blocks(
    call: Callable[[Float[Array, " recoil"]], Float[Array, "*shape recoil"]], recoil_keV: Float[Array, " recoil"]
) -> Float[Array, "*shape recoil"]:
    """A compiled function of recoil energies on a multiple of `BLOCK`."""
    if isinstance(recoil_keV, Tracer):
        return call(recoil_keV)
    padded = np.pad(np.asarray(recoil_keV), (0, -recoil_keV.size % BLOCK), mode="edge")
    result = call(as_float_array(padded))
    return result[..., : recoil_keV.size] if isinstance(result, Tracer) else _cut(result, recoil_keV.size)


def _cut(result: Array, size: int) -> Array:
    return as_float_array(np.asarray(result)[..., :size])  # not in JAX, which would compile it


@eqx.filter_jit
def _moments(flux: NeutrinoFlux, target: AnyTarget, recoil_keV: Array) -> Array:
    mass = target.nuclei.mass if isinstance(target, Target) else jnp.asarray([ELECTRON_MASS], recoil_keV.dtype)
    return jnp.moveaxis(flavour_moments(flux, minimum_energy(recoil_keV * KEV, mass[:, None])), 1, 2)


def _per_nucleus(
    interaction: AbstractInteraction,
    nodes: Float[Array, " energy"],
    shape: Float[Array, " energy"],
    recoil: Float[Array, " recoil"],
    nucleus: Nucleus,
    moments: Float[Array, "3 recoil"],
) -> Float[Array, " recoil"]:
    """Integral of shape(E) dsigma/dT over E, in MeV^-3, for one nucleus; recoil in MeV."""
    if isinstance(interaction, AbstractInverseEnergyInteraction):
        return jnp.sum(interaction.energy_coefficients(recoil, nucleus) * moments, axis=0)
    e_min = minimum_energy(recoil, nucleus.mass)
    # Segments of the tabulated flux, each cut at e_min, so that the kinematic edge is never inside a panel.
    x, w = np.polynomial.legendre.leggauss(_ENERGY_NODES)
    edges = jnp.maximum(nodes, e_min[:, None])  # (recoil, energy)
    half = jnp.diff(edges, axis=1)[..., None] / 2
    energy = edges[:, :-1, None] + half * (1 + jnp.asarray(x, half.dtype))
    energy = jnp.maximum(energy, 1e-3)
    value = interaction.dsigma_dT(energy, recoil[:, None, None], nucleus)
    value = value * jnp.interp(energy, nodes, shape, left=0.0, right=0.0)
    inside = recoil[:, None, None] <= maximum_recoil(energy, nucleus.mass)
    return jnp.sum(jnp.where(inside, value, 0.0) * half * jnp.asarray(w, half.dtype), axis=(1, 2))


@eqx.filter_jit
def recoil_spectrum(
    theory: AnyTheory,
    flux: NeutrinoFlux,
    target: AnyTarget,
    recoil_keV: Float[Array, " recoil"],
    moments: Float[Array, "flavour particle 3 recoil"] | None = None,
) -> Float[Array, " recoil"]:
    """Recoil spectrum at 100% efficiency (eq. 11 of arXiv:2411.11749 with A = 1).

    Args:
        theory: interaction, and the 8B total if the flux is 8B; or a table, which needs neither flux nor target.
        flux: neutrino flux.
        target: isotopic mixture, or electrons.
        recoil_keV: energies of the recoiling nuclei or electrons in keV, shape (recoil,).
        moments: `flux_moments` of these arguments, if at hand; computed otherwise.

    Returns:
        dR/dT in events/(tonne year keV), shape (recoil,).

    Raises:
        ValueError: the flux does not tell its flavours, and the theory or the target asks for them.
        TypeError: an interaction that says nothing about electrons, on electrons.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> rate = jc.recoil_spectrum(jc.StandardModel(), jc.b8(), jc.xenon(), jnp.array([0.5, 1.0]))
        >>> [round(r) for r in rate.tolist()]  # events/(tonne year keV)
        [707, 239]
    """
    theory = as_theory(theory)
    if isinstance(theory, TabulatedSpectrum):
        return theory.strength * jnp.interp(recoil_keV, theory.recoil_keV, theory.rate, left=0.0, right=0.0)
    total = theory.b8_flux if flux.name == "b8" else flux.total
    interaction, recoil = theory.interaction, recoil_keV * KEV
    if moments is None:
        moments = flux_moments(flux, target, recoil_keV)
    if isinstance(target, ElectronTarget):
        _require_flavours(flux, "electron recoils need them")
        spectrum = jnp.zeros_like(recoil)
        for flavour, own in zip(flux.flavours, moments[:, 0], strict=True):
            spectrum = spectrum + jnp.sum(interaction.electron_coefficients(recoil, flavour) * own, axis=0)
        return total * (target.atoms_per_tonne * _RATE_UNIT) * target.per_atom(recoil_keV) * spectrum
    if interaction.flavour_blind:
        spectra = _on_nuclei(interaction, flux, flux.shape, target, recoil, jnp.sum(moments, axis=0))
    else:
        _require_flavours(flux, "couplings that depend on them need them")
        rows = zip(flux.flavours, flux.flavour_shapes, moments, strict=True)
        parts = [_on_nuclei(interaction.seen_by(f), flux, shape, target, recoil, own) for f, shape, own in rows]
        spectra = jnp.sum(jnp.stack(parts), axis=0)
    # 4.6e27 atoms per tonne times 1.2e-17: the product of the two weights first, then the tiny cross section.
    return total * jnp.sum((target.atoms_per_tonne * _RATE_UNIT)[:, None] * spectra, axis=0)


def _require_flavours(flux: NeutrinoFlux, why: str) -> None:
    if not flux.flavours:
        raise ValueError(
            f"flux {flux.name!r} does not tell its flavours, and {why}: give them, as in "
            "NeutrinoFlux(energy, shape, total, name, ('e', 'mu'), fractions)"
        )


def _on_nuclei(
    interaction: AbstractInteraction,
    flux: NeutrinoFlux,
    shape: Float[Array, " energy"],
    target: Target,
    recoil: Float[Array, " recoil"],
    moments: Float[Array, "isotope 3 recoil"],
) -> Float[Array, "isotope recoil"]:
    """Integral of shape(E) dsigma/dT over E, in MeV^-3, for all isotopes; recoil in MeV."""
    call = partial(_per_nucleus, interaction, flux.energy, shape, recoil)
    return jax.vmap(call)(target.nuclei, moments)


@eqx.filter_jit
def counts_above(
    theory: Theory | AbstractInteraction,
    flux: NeutrinoFlux,
    target: Target,
    threshold_keV: Float[Array, " threshold"],
    panels: int = 48,
) -> Float[Array, " threshold"]:
    """Events per tonne-year above each threshold, at 100% efficiency.

    Args:
        theory: as for `recoil_spectrum`.
        flux: neutrino flux.
        target: isotopic mixture.
        threshold_keV: recoil thresholds in keV, above zero.
        panels: Gauss-Legendre panels of 8 nodes between threshold and end point; the relative error of
            the default is below 1e-6 for thresholds of 0.1 keV and more.

    Returns:
        Events per tonne-year, shape (threshold,).

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> events = jc.counts_above(jc.StandardModel(), jc.b8(), jc.xenon(), jnp.array([0.5, 1.0]))
        >>> [round(n, 1) for n in events.tolist()]  # per tonne-year above 0.5 and 1 keV
        [311.5, 95.0]
    """
    x, w = (jnp.asarray(v, threshold_keV.dtype) for v in np.polynomial.legendre.leggauss(8))
    end = maximum_recoil(flux.energy[-1], jnp.min(target.nuclei.mass)) / KEV

    def above(threshold):
        # Even panels in sqrt(T) follow the spectrum's scale: T grows as E^2.
        lower = jnp.minimum(threshold, end)
        edges = jnp.linspace(jnp.sqrt(lower), jnp.sqrt(end), panels + 1) ** 2
        half = jnp.diff(edges)[:, None] / 2
        nodes = edges[:-1, None] + half * (1 + x)
        rate = recoil_spectrum(theory, flux, target, nodes.ravel()).reshape(nodes.shape)
        return jnp.sum(rate * half * w)

    return jax.lax.map(above, threshold_keV)
