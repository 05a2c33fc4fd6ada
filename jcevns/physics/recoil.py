"""Recoil spectrum dR/dT: flux times cross section, summed over flavours and the particles of a target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.compiled import RUN_ONCE, compiled
from jcevns.constants import CM2_PER_INVERSE_MEV2, ELECTRON_MASS, KEV, PER_MEV_TO_PER_KEV, SECONDS_PER_YEAR
from jcevns.histogram import steps
from jcevns.parameters import parameter
from jcevns.physics.electrons import Electron, ElectronTarget
from jcevns.physics.flux import NeutrinoFlux, flavour_moments
from jcevns.physics.interaction import (
    Interaction,
    Particle,
    flavour_blind,
    has_terms,
    label_of,
    maximum_recoil,
    minimum_energy,
    moves_minimum_energy,
)
from jcevns.physics.new_physics import Addition
from jcevns.physics.nuclei import Target
from jcevns.physics.propagation import Propagated
from jcevns.precision import as_float_array

__all__ = [
    "BLOCK",
    "AnyTarget",
    "TabulatedSpectrum",
    "by_blocks",
    "counts_above",
    "flux_moments",
    "load_spectrum",
    "particles_of",
    "pieces_of",
    "recoil_spectrum",
    "term_spectra",
]

BLOCK = 128
"""Recoil energies come in multiples of this, so that what one detector compiles serves the next."""

_RATE_UNIT = SECONDS_PER_YEAR * CM2_PER_INVERSE_MEV2 * PER_MEV_TO_PER_KEV  # 1.2e-17: safe in float32
_ENERGY_NODES = 3  # Gauss-Legendre nodes per flux segment for interactions without closed moments

AnyTarget = Target | ElectronTarget
"""What neutrinos scatter off."""

_MOST_RATE = 1e15  # a tonne has 1e28 nuclei or so, but no detector counts more


class TabulatedSpectrum(Addition):
    """Any recoil spectrum: a table of dR/dT, linear between its energies, zero outside, times a strength.

    By itself it is the only signal; flux and cross section do not enter. `StandardModel() + TabulatedSpectrum(...)`
    has the neutrinos beside it.

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
    strength: Float[Array, ""] = parameter(
        1.0, lower=0.0, null=0.0, note="strength 1 is the recoil spectrum as given; bounded at 0"
    )

    label = "spectrum"

    def __check_init__(self):
        if any(isinstance(x, Tracer) for x in (self.recoil_keV, self.rate, self.strength)):
            return
        energy, rate = np.asarray(self.recoil_keV), np.asarray(self.rate)
        if energy.shape != rate.shape or energy.size < 2 or not (np.all(np.diff(energy) > 0) and energy[0] >= 0):
            raise ValueError("recoil spectrum: energies must be at least two, increase and not be negative (keV)")
        if not np.all((rate >= 0) & (rate <= _MOST_RATE)):
            raise ValueError(
                "recoil spectrum: dR/dT must be finite and not negative, in events/(tonne year keV), "
                f"{_MOST_RATE:g} at most"
            )

    @classmethod
    def from_histogram(cls, given: Any, strength: float = 1.0) -> "TabulatedSpectrum":
        """A spectrum from a histogram of the UHI protocol: recoils per tonne-year in bins of keV, even in each bin.

        Raises:
            ValueError: no histogram of one axis, or of negative counts or energies.
        """
        step = 1e-9 if jnp.result_type(float) == jnp.float64 else 1e-6
        return cls(*steps("recoil spectrum", given, step), as_float_array(strength))

    def weights(self):
        """The strength."""
        return self.strength[None]

    def rates(self, recoil_keV):
        """The table."""
        return jnp.interp(recoil_keV, self.recoil_keV, self.rate, left=0.0, right=0.0)[None]


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
        ...     spectrum = jc.physics.load_spectrum(f"{folder}/mine.csv")
        >>> spectrum.rate.tolist()  # events/(tonne year keV)
        [40.0, 0.0]
    """
    table = datasets.read_csv(Path(path), ("recoil_keV", "events_per_tonne_year_keV"))
    try:
        return TabulatedSpectrum(table["recoil_keV"], table["events_per_tonne_year_keV"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def particles_of(target: AnyTarget) -> list[Particle]:
    """One particle for each kind of scattering a target has."""
    if isinstance(target, ElectronTarget):
        return [Electron()]
    one = lambda x: x[0] if isinstance(x, Tracer) else as_float_array(np.asarray(x)[0])  # noqa: E731
    return [jax.tree.map(one, target.nuclei)]


def pieces_of(theory: Interaction) -> list[tuple[Interaction, float]]:
    """Interactions, each with a factor, whose terms follow each other."""
    return theory.pieces


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


@compiled(options=RUN_ONCE)
def _moments(flux: NeutrinoFlux, target: AnyTarget, recoil_keV: Array) -> Array:
    mass = target.nuclei.mass if isinstance(target, Target) else jnp.asarray([ELECTRON_MASS], recoil_keV.dtype)
    return jnp.moveaxis(flavour_moments(flux, minimum_energy(recoil_keV * KEV, mass[:, None])), 1, 2)


def term_spectra(
    interaction: Interaction,
    flux: NeutrinoFlux,
    target: AnyTarget,
    recoil_keV: Float[Array, " recoil"],
    moments: Float[Array, "flavour particle 3 recoil"] | None = None,
) -> Float[Array, "term recoil"]:
    """Recoil spectra of the terms of an interaction that is no sum, at the flux's total.

    An interaction written as `dsigma_dT` has one term.

    Args:
        interaction: weights do not enter.
        flux: neutrino flux.
        target: isotopic mixture, or electrons.
        recoil_keV: energies of the recoiling particle in keV.
        moments: `flux_moments` of these arguments, if at hand; computed otherwise.

    Returns:
        dR/dT in events/(tonne year keV) per unit weight, shape (term, recoil).
    """
    if isinstance(interaction, Addition):
        return interaction.rates(recoil_keV)
    if isinstance(interaction, Propagated):
        return _propagated(interaction, flux, target, recoil_keV)
    recoil = recoil_keV * KEV
    if has_terms(interaction) and moments is None and not moves_minimum_energy(interaction):
        moments = flux_moments(flux, target, recoil_keV)
    (example,) = particles_of(target)
    blind = flavour_blind(interaction, example)
    if isinstance(target, ElectronTarget) or not blind:
        _require_flavours(flux, interaction)

    def energy_integral(particle: Particle, own: Array | None) -> Array:
        """Integral over E of shape(E) times dsigma/dT per term in MeV^-3 for one particle; `own` has its moments."""
        if not has_terms(interaction):
            rows = [flux.shape] if blind else list(flux.flavour_shapes)
            names = [""] if blind else list(flux.flavours)
            total = sum(
                _quadrature(interaction, flux.energy, row, recoil, particle, name)
                for row, name in zip(rows, names, strict=True)
            )
            return jnp.asarray(total)[None]
        if own is None:
            least = interaction.minimum_energy(recoil, particle)
            own = flavour_moments(flux, least)  # (flavour, 3, recoil)
        if blind:
            return _contract(
                interaction, recoil, particle, flux.flavours[0] if flux.flavours else "e", own.sum(axis=0)
            )
        pairs = zip(flux.flavours, own, strict=True)
        return jnp.sum(jnp.stack([_contract(interaction, recoil, particle, f, m) for f, m in pairs]), axis=0)

    given = None if moments is None or moves_minimum_energy(interaction) else jnp.moveaxis(moments, 1, 0)
    if isinstance(target, ElectronTarget):
        spectra = energy_integral(example, None if given is None else given[0])
        return flux.total * (target.atoms_per_tonne * _RATE_UNIT) * target.per_atom(recoil_keV) * spectra
    spectra = jax.vmap(energy_integral, (0, None if given is None else 0))(target.nuclei, given)
    # 4.6e27 atoms per tonne times 1.2e-17: the product of the two weights first, then the tiny cross section.
    return flux.total * jnp.sum((target.atoms_per_tonne * _RATE_UNIT)[:, None, None] * spectra, axis=0)


def _propagated(interaction: Propagated, flux: NeutrinoFlux, target: AnyTarget, recoil_keV: Array) -> Array:
    """Terms at every node of every source, in the order of the weights."""
    found = []
    for size, parts in zip(interaction.sizes(), interaction.components(flux), strict=True):
        total: Any = 0.0
        for rows, flavours in parts:

            def spectra(row: Array, flavours: tuple[str, ...] = flavours) -> Array:
                # Not made anew: polynomials may be negative.
                one = [NeutrinoFlux(flux.energy, flux.shape, flux.total, flux.name, (f,)) for f in flavours]
                one = [eqx.tree_at(lambda f: f.shape, f, row) for f in one]
                return jnp.concatenate([term_spectra(interaction.inner, f, target, recoil_keV) for f in one])

            own = jax.vmap(spectra)(rows)
            total = total + own.reshape(-1, recoil_keV.size)
        found.append(total if parts else jnp.zeros((size, recoil_keV.size), recoil_keV.dtype))
    return jnp.concatenate(found)


def _contract(interaction: Interaction, recoil: Array, particle: Particle, flavour: str, moments: Array) -> Array:
    try:
        terms = interaction.terms(recoil, particle, flavour)
    except AttributeError as error:
        if isinstance(particle, Electron):
            raise TypeError(
                f"{label_of(interaction)} says nothing about electrons ({error}): let its `terms` tell them by "
                "isinstance(particle, jcevns.physics.Electron)"
            ) from None
        raise
    if terms.ndim != 3 or terms.shape[1:] != (3, recoil.size):
        raise ValueError(
            f"{label_of(interaction)}: terms have shape {terms.shape}, expected (term, 3, {recoil.size}): "
            "coefficients of E^0, E^-1, E^-2"
        )
    weights = jax.eval_shape(interaction.weights).shape
    if weights != terms.shape[:1]:
        raise ValueError(f"{label_of(interaction)}: {weights} weights for {terms.shape[0]} terms")
    return jnp.sum(terms * moments, axis=1)


def _quadrature(
    interaction: Interaction, nodes: Array, shape: Array, recoil: Array, particle: Particle, flavour: str
) -> Float[Array, " recoil"]:
    """Integral over E of a cross section of any form."""
    e_min = interaction.minimum_energy(recoil, particle)
    # Segments of the tabulated flux, each cut at e_min, so that the kinematic edge is never inside a panel.
    x, w = np.polynomial.legendre.leggauss(_ENERGY_NODES)
    edges = jnp.maximum(nodes, e_min[:, None])  # (recoil, energy)
    half = jnp.diff(edges, axis=1)[..., None] / 2
    energy = edges[:, :-1, None] + half * (1 + jnp.asarray(x, half.dtype))
    energy = jnp.maximum(energy, 1e-3)
    value = interaction.dsigma_dT(energy, recoil[:, None, None], particle, flavour)
    value = value * jnp.interp(energy, nodes, shape, left=0.0, right=0.0)
    if not moves_minimum_energy(interaction):
        inside = recoil[:, None, None] <= maximum_recoil(energy, particle.mass)
        value = jnp.where(inside, value, 0.0)
    return jnp.sum(value * half * jnp.asarray(w, half.dtype), axis=(1, 2))


def _require_flavours(flux: NeutrinoFlux, interaction: Interaction) -> None:
    if not flux.flavours:
        raise ValueError(
            f"flux {flux.name!r} does not tell its flavours, and {label_of(interaction)} needs them: give them, as "
            "in NeutrinoFlux(energy, shape, total, name, ('e', 'mu'), fractions)"
        )


@compiled
def recoil_spectrum(
    theory: Interaction,
    flux: NeutrinoFlux,
    target: AnyTarget,
    recoil_keV: Float[Array, " recoil"],
    moments: Float[Array, "flavour particle 3 recoil"] | None = None,
) -> Float[Array, " recoil"]:
    """Recoil spectrum at 100% efficiency (eq. 11 of arXiv:2411.11749 with A = 1).

    Args:
        theory: an interaction; a table needs neither flux nor target.
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
        >>> target = jc.physics.xenon()
        >>> rate = jc.physics.recoil_spectrum(jc.StandardModel(), jc.physics.b8(), target, jnp.array([0.5, 1.0]))
        >>> [round(r) for r in rate.tolist()]  # events/(tonne year keV)
        [707, 239]
    """
    total = jnp.zeros_like(recoil_keV)
    for piece, factor in pieces_of(theory.seeing((flux,))):
        weights = piece.weights() if has_terms(piece) or isinstance(piece, Addition) else jnp.ones(1)
        total = total + factor * (weights @ term_spectra(piece, flux, target, recoil_keV, moments))
    return total


@compiled
def counts_above(
    theory: Interaction,
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
        >>> target = jc.physics.xenon()
        >>> events = jc.physics.counts_above(jc.StandardModel(), jc.physics.b8(), target, jnp.array([0.5, 1.0]))
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
