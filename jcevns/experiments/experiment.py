"""The record that is an experiment: channels, backgrounds, counts, nuisances. Data, not a subclass."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.compiled import compiled
from jcevns.detectors.response import Response
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.consistency import OF_PART, SIGNAL, check_channel, check_edges, check_experiment
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.histogram import is_histogram, read_histogram
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.interaction import Interaction, has_terms
from jcevns.physics.new_physics import Addition
from jcevns.physics.recoil import AnyTarget, by_blocks, flux_moments, pieces_of, recoil_spectrum, term_spectra
from jcevns.physics.standard_model import StandardModel
from jcevns.precision import as_float_array, not_forked

__all__ = [
    "SIGNAL",
    "Channel",
    "Experiment",
    "Source",
    "has_additions",
    "normalised",
    "of_source",
    "require_one_channel",
    "signal_by_source",
    "signal_counts",
    "sources_of",
    "unfitted_counts",
]

STATUSES = (*datasets.STATUSES, "user")


class Source(NamedTuple):
    """Where a piece of the signal comes from.

    Attributes:
        flux: name of the flux; empty for a recoil spectrum that belongs to none.
        part: of the bins, where an experiment has parts.
    """

    flux: str
    part: str = ""

    def is_of(self, component: str) -> bool:
        """Whether a component that a nuisance acts on holds it: the whole signal, or that of its part."""
        return component in (SIGNAL, f"{OF_PART}{self.part}")


class Channel(eqx.Module):
    """One way in which an experiment sees neutrinos: a flux on a target, through a response.

    Attributes:
        flux: the neutrino flux.
        target: the nuclei, or the electrons.
        response: dR/dT to counts.
        faint: the Standard Model makes next to nothing here, as on electrons beside nuclei: bounds of parameters
            that belong to a target are those of the other channels.

    Example:
        >>> import jcevns as jc
        >>> response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0)
        >>> jc.Channel(jc.physics.b8(), jc.physics.xenon(), response).flux.parameter.name
        'flux.b8'
    """

    flux: NeutrinoFlux
    target: AnyTarget
    response: Response
    faint: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_channel(self)

    def moments(self) -> Float[Array, "_ particle 3 recoil"]:
        """`flux_moments` at the energies of the response: all that folding a theory needs of the flux."""
        return flux_moments(self.flux, self.target, self.response.recoil_keV)


def _array(counts: Any) -> Array:
    if is_histogram(counts):
        raise ValueError(
            "counts are given as a histogram: build the experiment by Experiment.from_histograms, which compares "
            "edges"
        )
    return as_float_array(counts)


def _arrays(backgrounds: Mapping[str, Any]) -> dict[str, Array]:
    return {name: _array(counts) for name, counts in backgrounds.items()}


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))


def _channels(channels: Any) -> tuple[Channel, ...]:
    return (channels,) if isinstance(channels, Channel) else tuple(channels)


class Experiment(eqx.Module):
    """One counting experiment.

    Attributes:
        name: label used in fits, tables and on the command line.
        channels: a channel, or several whose counts add up in the same bins.
        observed: counts per bin.
        backgrounds: expected counts per bin of each component, at nominal normalisation; at every anchor of the
            shape nuisances (these axes first) where a component depends on them.
        nuisances: normalisation uncertainties, besides those of the fluxes.
        shapes: shape uncertainties; the responses then have one leading axis for each, along its anchors.
        morphing: `grid` if templates are known at every combination of anchors, an axis for each shape; `sum` if each
            shape is known alone and the changes add up: then one axis runs over the anchors of all shapes in turn.
        observable: what the bins are in, with unit.
        bin_edges: for plots, in that unit.
        axes: instead, of bins in several dimensions, the last fastest; runs follow each other.
        exposure: tonne-year, for information; the response contains it.
        status: `published`, `computed`, `transcribed` (by hand), `digitised` (from a figure), `reconstructed` or
            `user`: the weakest of its inputs.
        notes: caveats, printed wherever the experiment is used.
        tables: cards of the data tables it is built from.
        runs: data-taking runs; experiments that share one hold the same events and cannot be combined.
        measured: whether `observed` are data, not the expectation in place of toys: what needs data then refuses.
        recipe: how a built-in experiment was built, for `replace`.
        overlap: in place of this, what is known of events that other searches in its runs hold too, and the remedy.
        parts: names and numbers of bins of what follows each other, as runs; nuisances may act on a `signal:NAME`.

    Example:
        >>> import jcevns as jc
        >>> response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0)
        >>> mine = jc.Experiment(
        ...     name="mine",
        ...     channels=jc.Channel(jc.physics.b8(), jc.physics.xenon(), response),
        ...     observed=[60, 42],
        ...     backgrounds={"cathode": [30, 25]},
        ...     nuisances=[jc.Nuisance("cathode", 0.3, ("cathode",))],
        ... )
        >>> print(jc.fit(mine, "flux"))
        flux.b8 = 1.6 +0.7 -0.6 1e6 cm^-2 s^-1 (68%, mine)
    """

    name: str = eqx.field(static=True)
    channels: tuple[Channel, ...] = eqx.field(converter=_channels)
    observed: Float[Array, " bin"] = eqx.field(converter=_array)
    backgrounds: dict[str, Float[Array, "*anchor bin"]] = eqx.field(converter=_arrays)
    nuisances: tuple[Nuisance, ...] = eqx.field(static=True, converter=tuple)
    observable: str = eqx.field(static=True, default="bin")
    bin_edges: tuple[float, ...] = eqx.field(static=True, converter=_floats, default=())
    exposure: float = eqx.field(static=True, default=float("nan"))
    status: str = eqx.field(static=True, default="user")
    notes: tuple[str, ...] = eqx.field(static=True, default=())
    tables: tuple[str, ...] = eqx.field(static=True, default=())
    runs: tuple[str, ...] = eqx.field(static=True, default=())
    shapes: tuple[ShapeNuisance, ...] = eqx.field(static=True, converter=tuple, default=())
    morphing: str = eqx.field(static=True, default="grid")
    axes: tuple[BinAxis, ...] = eqx.field(static=True, converter=tuple, default=())
    parts: tuple[tuple[str, int], ...] = eqx.field(static=True, converter=tuple, default=())
    overlap: str = eqx.field(static=True, default="")
    measured: bool = eqx.field(static=True, default=True)
    recipe: Any = None

    def __check_init__(self):
        check_experiment(self, STATUSES)

    @classmethod
    def from_histograms(
        cls, name: str, channels: Any, observed: Any, backgrounds: Mapping[str, Any], nuisances: Any = (), **more: Any
    ) -> "Experiment":
        """An experiment whose counts are histograms of the UHI protocol, as those of hist; overflow is left out.

        Args:
            name: of the experiment; its `bin_edges` are those of all histograms, its `observable` their label.
            channels: a channel, or several.
            observed: histogram of the data.
            backgrounds: histogram or counts of each component.
            nuisances: normalisations.
            more: further attributes.

        Raises:
            ValueError: histograms of other bins, of several axes, or of means.

        Example:
            >>> import hist, jcevns as jc
            >>> data = hist.new.Reg(2, 4, 8, label="N_e [electrons]").Double().fill([4.5, 5.0, 6.5])
            >>> response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), data.axes[0].edges, 0.1)
            >>> channel = jc.Channel(jc.physics.b8(), jc.physics.xenon(), response)
            >>> mine = jc.Experiment.from_histograms("mine", channel, data, {})
            >>> mine.observed.tolist(), mine.bin_edges, mine.observable
            ([2.0, 1.0], (4.0, 6.0, 8.0), 'N_e [electrons]')
        """
        here = f"experiment {name!r}"
        edges, counts, label = read_histogram(f"{here}: observed", observed)
        found = {}
        for component, given in backgrounds.items():
            found[component] = given
            if is_histogram(given):
                own, found[component], _ = read_histogram(f"{here}: {component}", given)
                check_edges(f"{here}: {component}", own, edges)
        if "bin_edges" in more:
            check_edges(f"{here}: bin_edges", np.asarray(more.pop("bin_edges"), float), edges)
        more = {"observable": label or "bin", **more}
        return cls(name, channels, counts, found, nuisances, bin_edges=tuple(map(float, edges)), **more)

    @property
    def fluxes(self) -> dict[str, NeutrinoFlux]:
        """Fluxes by name, the first of each."""
        found: dict[str, NeutrinoFlux] = {}
        for channel in self.channels:
            found.setdefault(channel.flux.name, channel.flux)
        return found

    @property
    def targets(self) -> tuple[AnyTarget, ...]:
        """Targets of all channels."""
        return tuple(channel.target for channel in self.channels)

    def replace(
        self, *, efficiency: Any = None, charge_yield: Any = None, flux: Any = None, form_factor: Any = None
    ) -> "Experiment":
        """The experiment with inputs of one's own, and with all numbers that depend on them computed anew.

        Factors c_i that bring the Standard Model signal to a published one are frozen again, so that it stays so: an
        efficiency, a yield or a form factor changes how other signals compare. Under a flux they stay as they are.

        Args:
            efficiency: energies in keV and the efficiency there, linear between, zero outside; or a CSV file.
            charge_yield: an `AbstractChargeYield`; a table, energies in keV and electrons/keV; or a CSV file.
            flux: a `NeutrinoFlux` or its name (`jcevns.physics.FLUXES`), or several, in a list; for one response.
            form_factor: of c_i, a name or an `AbstractFormFactor`. The signal has that of the theory: give both.

        Raises:
            ValueError: what it has no use for, with the reason; or changes after it was built would be lost.

        Example:
            >>> import jcevns as jc
            >>> both = jc.experiment("pandax4t-us2").replace(flux=["b8", "hep"])
            >>> tuple(both.fluxes)
            ('b8', 'hep')
        """
        from jcevns.experiments.replacing import replaced

        given = {"efficiency": efficiency, "charge_yield": charge_yield, "form_factor": form_factor}
        return replaced(self, {name: value for name, value in given.items() if value is not None}, flux)

    def moments(self) -> tuple[Float[Array, "_ _ 3 _"], ...]:
        """`flux_moments` of each channel."""
        return tuple(channel.moments() for channel in self.channels)


def has_additions(theory: Interaction) -> bool:
    """Whether a recoil spectrum that belongs to no flux is in a theory."""
    return any(isinstance(piece, Addition) for piece, _ in pieces_of(theory))


def sources_of(experiment: Experiment, theory: Interaction) -> tuple[Source, ...]:
    """Where signal comes from: the fluxes, then what belongs to none; each for every part of the bins."""
    neutrinos = any(not isinstance(piece, Addition) for piece, _ in pieces_of(theory))
    names = (*(experiment.fluxes if neutrinos else ()), *(("",) if has_additions(theory) else ()))
    parts = [part for part, _ in experiment.parts] or [""]
    return tuple(Source(name, part) for name in names for part in parts)


def of_source(experiment: Experiment, source: Source, counts: Any, trailing: int = 0) -> Any:
    """Counts of a flux as those of a source: zero outside its part of the bins.

    Args:
        experiment: the experiment.
        source: one of `sources_of`.
        counts: per bin; NumPy arrays stay NumPy arrays.
        trailing: number of axes after the bins.
    """
    if not source.part:
        return counts
    inside = np.repeat([part == source.part for part, _ in experiment.parts], [size for _, size in experiment.parts])
    return counts * inside.astype(counts.dtype).reshape(-1, *[1] * trailing)


def require_one_channel(experiment: Experiment) -> None:
    """Raise ValueError if a recoil spectrum would not know which channel it belongs to."""
    if (count := len(experiment.channels)) > 1:
        raise ValueError(
            f"experiment {experiment.name!r} has {count} channels: a recoil spectrum does not say which it belongs to"
        )


def signal_by_source(
    experiment: Experiment,
    theory: Interaction,
    moments: tuple[Float[Array, "_ _ 3 _"], ...] | None = None,
) -> Float[Array, "source *anchor bin"]:
    """Expected signal of each of `sources_of`, at nominal fluxes, before nuisances.

    Raises:
        ValueError: a tabulated spectrum where an experiment has several channels.
    """
    theory = theory.seeing(channel.flux for channel in experiment.channels)
    if has_additions(theory):
        require_one_channel(experiment)
    found: dict[str, Any] = {}
    known = moments or (None,) * len(experiment.channels)
    for channel, own in zip(experiment.channels, known, strict=True):
        rates: dict[str, Any] = {}
        for piece, factor in pieces_of(theory):
            name = "" if isinstance(piece, Addition) else channel.flux.name
            weights = piece.weights() if has_terms(piece) or isinstance(piece, Addition) else jnp.ones(1)
            spectra = term_spectra(piece, channel.flux, channel.target, channel.response.recoil_keV, own)
            rates[name] = rates.get(name, 0.0) + factor * (weights @ spectra)
        for name, rate in rates.items():
            found[name] = found.get(name, 0.0) + channel.response(rate)
    return jnp.stack([of_source(experiment, s, found[s.flux]) for s in sources_of(experiment, theory)])


@compiled
def signal_counts(
    experiment: Experiment,
    theory: Interaction,
    moments: tuple[Float[Array, "_ _ 3 _"], ...] | None = None,
) -> Float[Array, "*anchor bin"]:
    """Expected signal per bin (eq. 12 of arXiv:2411.11749), before nuisances; at every anchor of shape nuisances.

    Args:
        experiment: the experiment.
        theory: an interaction.
        moments: those of the experiment, if at hand.

    Raises:
        ValueError: a tabulated spectrum where an experiment has several channels.

    Example:
        >>> import jcevns as jc
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), jc.StandardModel())
        >>> [round(n, 2) for n in counts.tolist()]  # events per bin
        [3.22, 5.15, 2.76]
    """
    not_forked()
    return jnp.sum(signal_by_source(experiment, theory, moments), axis=0)


def normalised(expected: np.ndarray, channel: Channel, theory: Interaction | None = None) -> Channel:
    """The channel with factors c_i that bring its Standard Model signal to `expected` (eq. 12 of arXiv:2411.11749).

    Computed at the Standard Model point for the channel's flux, and constants from there on.

    Args:
        expected: counts per bin.
        channel: the channel.
        theory: the Standard Model, if other than by default, as with another form factor.

    Raises:
        ValueError: a bin where the channel has no signal that could be scaled.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0)
        >>> channel = jc.normalised(np.array([30.0, 15.0]), jc.Channel(jc.physics.b8(), jc.physics.xenon(), response))
        >>> one = jc.Experiment("one", channel, observed=[1, 1], backgrounds={}, nuisances=[])
        >>> [round(n, 3) for n in jc.signal_counts(one, jc.StandardModel()).tolist()]  # events
        [30.0, 15.0]
    """
    counts = unfitted_counts(theory or StandardModel(), channel)
    if isinstance(counts, Tracer):
        factors = jax.lax.stop_gradient(as_float_array(expected) / counts)
    else:
        counts, expected = np.asarray(counts), np.asarray(expected)
        if np.any(bad := (counts <= 0) & (expected > 0)):
            place = np.argwhere(bad)[0]
            raise ValueError(
                f"the Standard Model makes no event in bin {place[-1]}, where {expected[tuple(place)]:.3g} are "
                "expected: no factor c_i brings it there, check efficiency, yields and edges"
            )
        factors = as_float_array(np.divide(expected, counts, out=np.zeros_like(counts), where=counts > 0))
    return dataclasses.replace(channel, response=channel.response.times(factors))


def unfitted_counts(theory: Interaction, channel: Channel) -> Float[Any, "*anchor bin"]:
    """Counts of a theory in one channel, before there is an experiment."""
    flux, target, response = channel.flux, channel.target, channel.response

    def rate(energies):
        # Moments apart: a likelihood needs the same ones, and finds them compiled.
        return recoil_spectrum(theory, flux, target, energies, flux_moments(flux, target, energies))

    spectrum = by_blocks(rate, response.recoil_keV)
    if isinstance(spectrum, Tracer) or isinstance(response.matrix, Tracer):
        return response(spectrum)
    return np.asarray(response.matrix) @ np.asarray(spectrum)
