"""The record that is an experiment: response, backgrounds, counts, nuisances. Data, not a subclass."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.detectors.response import Response
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.recoil import (
    AnyTarget,
    AnyTheory,
    TabulatedSpectrum,
    Theory,
    as_theory,
    by_blocks,
    flux_moments,
    recoil_spectrum,
)
from jcevns.precision import as_float_array

__all__ = [
    "SIGNAL",
    "Experiment",
    "Nuisance",
    "ShapeNuisance",
    "b8_as_background",
    "correction_factors",
    "signal_counts",
    "unfitted_counts",
]

SIGNAL = "signal"
"""Name of the component that the theory predicts."""

STATUSES = ("published", "computed", "reconstructed", "user")


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """A normalisation uncertainty: (1 + pull) on every component it names, (pull/sigma)^2 in chi2.

    Attributes:
        name: label; prefixed by the experiment's name in a fit unless shared.
        sigma: relative 1 sigma width.
        components: `signal` or names of backgrounds.
        shared: one pull for all experiments that use this name (the 8B flux).
        bounds: hard limits of the factor 1 + pull.

    Example:
        >>> import jcevns as jc
        >>> jc.Nuisance("b8_flux", sigma=0.12, components=("signal",), shared=True)
        Nuisance(name='b8_flux', sigma=0.12, components=('signal',), shared=True, bounds=(0.0, inf))
    """

    name: str
    sigma: float
    components: tuple[str, ...]
    shared: bool = False
    bounds: tuple[float, float] = (0.0, np.inf)

    def __post_init__(self):
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"nuisance {self.name!r}: sigma {self.sigma!r} must be positive (0.12 for 12%)")
        low, high = self.bounds
        if not 0 <= low < 1 < high:
            raise ValueError(
                f"nuisance {self.name!r}: bounds {self.bounds!r} of the factor must enclose 1, from 0 up"
            )
        if isinstance(self.components, str) or not self.components:
            raise ValueError(f"nuisance {self.name!r}: components must be a non-empty tuple of names")
        object.__setattr__(self, "components", tuple(self.components))


@dataclasses.dataclass(frozen=True)
class ShapeNuisance:
    """A parameter with unit Gaussian constraint along which templates are known at anchors, linear in between.

    Attributes:
        name: label; prefixed by the experiment's name in a fit.
        anchors: values at which the templates are given, increasing, 0 among them; first and last are hard limits.

    Example:
        >>> import jcevns as jc
        >>> jc.ShapeNuisance("charge_yield", anchors=(-2.0, 0.0, 2.0))
        ShapeNuisance(name='charge_yield', anchors=(-2.0, 0.0, 2.0))
    """

    name: str
    anchors: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "anchors", tuple(float(a) for a in self.anchors))
        if len(self.anchors) < 2 or np.any(np.diff(self.anchors) <= 0) or 0.0 not in self.anchors:
            raise ValueError(f"shape nuisance {self.name!r}: anchors must increase and have 0 (nominal) among them")


def _arrays(backgrounds: Mapping[str, Any]) -> dict[str, Array]:
    return {name: as_float_array(counts) for name, counts in backgrounds.items()}


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))


class Experiment(eqx.Module):
    """One counting experiment.

    Attributes:
        name: label used in fits, tables and on the command line.
        flux: the neutrino flux; or several, where the detector tells them apart (by their time of arrival).
        target: the nuclei, or the electrons.
        response: dR/dT to counts. With several fluxes its energies are those of the first flux, then as many of
            the second, and so on.
        observed: counts per bin.
        backgrounds: expected counts per bin of each component, at nominal normalisation; at every anchor of the
            shape nuisances (these axes first) where a component depends on them.
        nuisances: normalisation uncertainties.
        shapes: shape uncertainties; the response then has one leading axis for each, along its anchors.
        morphing: `grid` if templates are known at every combination of anchors, an axis for each shape; `sum` if each
            shape is known alone and the changes add up: then one axis runs over the anchors of all shapes in turn.
        correction: the factors c_i of eq. 12 of arXiv:2411.11749, frozen at the Standard Model; one if absent.
        observable: what the bins are in, with unit.
        bin_edges: for plots, in that unit.
        exposure: tonne-year, for information; the response contains it.
        status: `published`, `computed`, `reconstructed` or `user`: the weakest of its inputs.
        notes: caveats, printed wherever the experiment is used.
        tables: cards of the data tables it is built from.
        runs: data-taking runs; experiments that share one hold the same events and cannot be combined.

    Example:
        >>> import jcevns as jc
        >>> mine = jc.Experiment(
        ...     name="mine",
        ...     flux=jc.b8(),
        ...     target=jc.xenon(),
        ...     response=jc.charge_response(jc.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0),
        ...     observed=[60, 42],
        ...     backgrounds={"cathode": [30, 25]},
        ...     nuisances=[jc.Nuisance("cathode", 0.3, ("cathode",))],
        ... )
        >>> print(jc.measure("flux", mine))
        flux = 1.649 +0.652 -0.641 1e6 cm^-2 s^-1 (68%, mine)
    """

    name: str = eqx.field(static=True)
    flux: NeutrinoFlux | tuple[NeutrinoFlux, ...]
    target: AnyTarget
    response: Response
    observed: Float[Array, " bin"] = eqx.field(converter=as_float_array)
    backgrounds: dict[str, Float[Array, "*anchor bin"]] = eqx.field(converter=_arrays)
    nuisances: tuple[Nuisance, ...] = eqx.field(static=True, converter=tuple)
    correction: Float[Array, "..."] = eqx.field(converter=as_float_array, default=1.0)
    observable: str = eqx.field(static=True, default="bin")
    bin_edges: tuple[float, ...] = eqx.field(static=True, converter=_floats, default=())
    exposure: float = eqx.field(static=True, default=float("nan"))
    status: str = eqx.field(static=True, default="user")
    notes: tuple[str, ...] = eqx.field(static=True, default=())
    tables: tuple[str, ...] = eqx.field(static=True, default=())
    runs: tuple[str, ...] = eqx.field(static=True, default=())
    shapes: tuple[ShapeNuisance, ...] = eqx.field(static=True, converter=tuple, default=())
    morphing: str = eqx.field(static=True, default="grid")

    def __check_init__(self):
        here = f"experiment {self.name!r}"
        if self.status not in STATUSES:
            raise ValueError(f"{here}: status {self.status!r} is not one of {', '.join(STATUSES)}")
        bins = self.response.matrix.shape[-2]
        if self.morphing not in ("grid", "sum"):
            raise ValueError(f"{here}: morphing {self.morphing!r} must be 'grid' or 'sum'")
        anchors = tuple(len(s.anchors) for s in self.shapes)
        if self.morphing == "sum" and anchors:
            anchors = (sum(anchors),)
        if self.response.matrix.shape[:-2] != anchors:
            raise ValueError(
                f"{here}: the response has anchors {self.response.matrix.shape[:-2]}, its shape nuisances {anchors}"
            )
        if self.bin_edges and len(self.bin_edges) != bins + 1:
            raise ValueError(f"{here}: {len(self.bin_edges)} bin edges for {bins} bins, expected {bins + 1}")
        known = {SIGNAL, *self.backgrounds}
        if SIGNAL in self.backgrounds:
            raise ValueError(f"{here}: no background may be called {SIGNAL!r}, the theory predicts that one")
        for label, counts in {"observed": self.observed, **self.backgrounds}.items():
            at_anchors = label != "observed" and counts.ndim > 1
            _check_counts(f"{here}: {label}", counts, (*anchors, bins) if at_anchors else (bins,))
        correction = np.broadcast_to(1.0, bins) if isinstance(self.correction, Tracer) else self.correction
        if correction.shape not in ((), (bins,), (*anchors, bins)) or not np.all(
            np.isfinite(correction) & (np.asarray(correction) >= 0)
        ):
            raise ValueError(f"{here}: correction must be {bins} factors, finite and not negative")
        if not self.fluxes or self.response.recoil_keV.size % len(self.fluxes):
            raise ValueError(
                f"{here}: {self.response.recoil_keV.size} energies of the response for {len(self.fluxes)} fluxes: "
                "as many for each are needed"
            )
        names = [n.name for n in (*self.nuisances, *self.shapes)]
        if len(set(names)) != len(names):
            raise ValueError(f"{here}: two nuisances share a name among {', '.join(names)}")
        for nuisance in self.nuisances:
            unknown = set(nuisance.components) - known
            if unknown:
                raise ValueError(
                    f"{here}: nuisance {nuisance.name!r} acts on unknown {', '.join(sorted(unknown))}; "
                    f"components are {', '.join(sorted(known))}"
                )

    @property
    def fluxes(self) -> tuple[NeutrinoFlux, ...]:
        """The fluxes, one or several."""
        return (self.flux,) if isinstance(self.flux, NeutrinoFlux) else self.flux

    @property
    def sources(self) -> tuple[tuple[NeutrinoFlux, Float[Array, " recoil"]], ...]:
        """Each flux with the energies of the response at which its dR/dT is needed."""
        rows = self.response.recoil_keV.reshape(len(self.fluxes), -1)
        return tuple(zip(self.fluxes, rows, strict=True))

    def moments(self) -> tuple[Float[Array, "_ particle 3 recoil"], ...]:
        """`flux_moments` of each source: all that folding a theory needs of the fluxes."""
        return tuple(flux_moments(flux, self.target, recoil) for flux, recoil in self.sources)


def _check_counts(label: str, counts: Array, shape: tuple[int, ...]) -> None:
    if counts.shape != shape:
        raise ValueError(f"{label}: shape {counts.shape}, but the response has {shape[-1]} bins ({shape})")
    if isinstance(counts, Tracer):
        return
    values = np.asarray(counts)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        raise ValueError(f"{label}: bin {bad[0]} is {values.flat[bad[0]]}, counts must be finite and not negative")


@eqx.filter_jit
def signal_counts(
    experiment: Experiment,
    theory: AnyTheory,
    moments: tuple[Float[Array, "_ particle 3 recoil"], ...] | None = None,
) -> Float[Array, "*anchor bin"]:
    """Expected signal per bin (eq. 12 of arXiv:2411.11749), before nuisances; at every anchor of shape nuisances.

    Args:
        experiment: the experiment.
        theory: a theory, or an interaction at the nominal 8B flux.
        moments: those of the experiment, if at hand.

    Raises:
        ValueError: a tabulated spectrum where the detector tells several fluxes apart.

    Example:
        >>> import jcevns as jc
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), jc.StandardModel())
        >>> [round(n, 2) for n in counts.tolist()]  # events per bin
        [3.22, 5.15, 2.76]
    """
    theory, sources = as_theory(theory), experiment.sources
    if isinstance(theory, TabulatedSpectrum) and len(sources) > 1:
        raise ValueError(
            f"experiment {experiment.name!r} tells {len(sources)} fluxes apart: a recoil spectrum does not say "
            "which of them it belongs to"
        )
    known = moments or (None,) * len(sources)
    rates = [
        recoil_spectrum(theory, flux, experiment.target, recoil, own)
        for (flux, recoil), own in zip(sources, known, strict=True)
    ]
    return experiment.correction * experiment.response(jnp.concatenate(rates))


def correction_factors(
    expected: np.ndarray, flux: NeutrinoFlux, target: AnyTarget, response: Response
) -> Float[Array, " bin"]:
    """Factors c_i that bring the Standard Model signal to `expected` (eq. 12 of arXiv:2411.11749).

    Computed at the Standard Model point for the given flux shape, and constants from there on.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> response = jc.charge_response(jc.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0)
        >>> expected = np.array([30.0, 15.0])  # events
        >>> factors = jc.correction_factors(expected, jc.b8(), jc.xenon(), response)
        >>> [round(c, 3) for c in factors.tolist()]
        [0.303, 0.259]
    """
    counts = unfitted_counts(Theory(), flux, target, response)
    if isinstance(counts, Tracer):
        return jax.lax.stop_gradient(as_float_array(expected) / counts)
    return as_float_array(expected / np.asarray(counts))


def unfitted_counts(
    theory: AnyTheory, flux: NeutrinoFlux, target: AnyTarget, response: Response
) -> Float[Any, " bin"]:
    """Counts of a theory in a response, before there is an experiment."""

    def rate(energies):
        # Moments apart: a likelihood needs the same ones, and finds them compiled.
        return recoil_spectrum(theory, flux, target, energies, flux_moments(flux, target, energies))

    spectrum = by_blocks(rate, response.recoil_keV)
    if isinstance(spectrum, Tracer) or isinstance(response.matrix, Tracer):
        return response(spectrum)
    return np.asarray(response.matrix) @ np.asarray(spectrum)


B8_BACKGROUND = "b8"
"""Name of the 8B neutrinos where they are a background."""


def b8_as_background(experiment: Experiment) -> Experiment:
    """The experiment with the Standard Model 8B signal among its backgrounds, so that another signal can be sought.

    The shared flux nuisance moves to that background; every other nuisance of the signal acts on both.

    Args:
        experiment: one whose flux is 8B.

    Raises:
        ValueError: another flux.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.b8_as_background(jc.experiment("xenonnt-2024-s2"))
        >>> [round(n, 2) for n in xenonnt.backgrounds["b8"].tolist()]  # events per bin
        [3.22, 5.15, 2.76]
    """
    if any(flux.name != B8_BACKGROUND for flux in experiment.fluxes):
        raise ValueError(f"experiment {experiment.name!r} does not see 8B neutrinos: there is no such background")

    def acting(nuisance: Nuisance) -> Nuisance:
        if SIGNAL not in nuisance.components:
            return nuisance
        others = tuple(c for c in nuisance.components if c != SIGNAL)
        kept = (B8_BACKGROUND,) if nuisance.shared else (SIGNAL, B8_BACKGROUND)
        return dataclasses.replace(nuisance, components=(*kept, *others))

    return dataclasses.replace(
        experiment,
        backgrounds={**experiment.backgrounds, B8_BACKGROUND: signal_counts(experiment, Theory())},
        nuisances=tuple(map(acting, experiment.nuisances)),
        notes=(*experiment.notes, "8B neutrinos are a background, at the Standard Model rate and the flux pull"),
    )
