"""Neutrino fluxes, their flavours and their moments over energy."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.parameters import Parameter
from jcevns.physics.oscillations import nufit60_errors
from jcevns.precision import as_float_array, optional_array
from jcevns.spelling import unknown

__all__ = [
    "B8_FLUX",
    "B8_RELATIVE_ERROR",
    "B8_SHAPES",
    "FLAVOURS",
    "FLUX",
    "FLUX_UNIT",
    "NeutrinoFlux",
    "b8",
    "combine",
    "density",
    "flavour_moments",
    "hep",
    "inverse_energy_moments",
    "solar_fractions",
]

_MOST = 1e30  # cm^-2 s^-1, beyond any source, and far below what overflows
_ERRORS = (1e-8, 1e8)  # narrower is fixed, wider is free

B8_FLUX = 5.46e6
"""Total 8B flux of the B16-GS98 standard solar model in cm^-2 s^-1 (card `solar_fluxes_b16`)."""

B8_RELATIVE_ERROR = 0.12
"""Its relative 1 sigma error."""

B8_SHAPES = {"bahcall1996": "b8_spectrum_bahcall1996", "winter2006": "b8_spectrum_winter2006"}
"""8B spectral shapes and the card of each."""

FLUX = "flux"
"""First part of the name of a flux's parameter, and its kind; short for it where there is one flux."""

FLUX_UNIT = "cm^-2 s^-1"

FLAVOURS = ("e", "mu", "tau", "anti-e", "anti-mu", "anti-tau")
"""Names of the neutrino flavours."""

_AREA = 5e-3  # relative, of a spectrum that was normalised by another rule of integration
_NARROW = 0.03  # half width over middle of a segment, below which its integrals are series
_LOWEST_ENERGY = 1e-3  # MeV; the recoils below, T < 2e-8 keV, are out of reach of any detector


class NeutrinoFlux(eqx.Module):
    """A flux: spectrum of unit area (within 0.5%, or of `share`), linear between nodes, times a total.

    Attributes:
        energy: nodes in MeV, increasing.
        shape: density at the nodes in MeV^-1.
        total: cm^-2 s^-1.
        name: which flux this is; its normalisation is the parameter `flux.NAME`, one for all detectors.
        flavours: names from `FLAVOURS` of what arrives at the detector; empty if unknown, which flavour-blind
            theories on nuclei do not mind.
        fractions: share of each flavour at the nodes, for more than one flavour; they add up to one.
        error: relative error of the total, the constraint of its parameter; None for a flux that is fixed by default.
        relative: the parameter is a factor on the total, for sources at different distances; else the total itself.
        sources: solar sources (`jcevns.physics.propagation.SOURCES`) of what arrives; for theories that calculate
            its flavours and do not use `fractions`.
        source_shapes: density of each source at the nodes in MeV^-1, for more than one.
        share: area of the spectrum, where the total counts neutrinos at other energies too: one as a rule, 0.22 for
            a reactor above 2 MeV.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flat = jc.physics.NeutrinoFlux([0.0, 10.0], [0.1, 0.1], 1e6, "flat")
        >>> events = jc.physics.counts_above(jc.StandardModel(), flat, jc.physics.xenon(), jnp.array([0.5]))
        >>> round(float(events[0]), 2)  # events per tonne-year above 0.5 keV
        25.99
    """

    energy: Float[Array, " energy"] = eqx.field(converter=as_float_array)
    shape: Float[Array, " energy"] = eqx.field(converter=as_float_array)
    total: Float[Array, ""] = eqx.field(converter=as_float_array)
    name: str = eqx.field(static=True)
    flavours: tuple[str, ...] = eqx.field(static=True, converter=tuple, default=())
    fractions: Float[Array, "flavour energy"] | None = eqx.field(converter=optional_array, default=None)
    error: float | None = eqx.field(static=True, default=None)
    relative: bool = eqx.field(static=True, default=False)
    sources: tuple[str, ...] = eqx.field(static=True, converter=tuple, default=())
    source_shapes: Float[Array, "source energy"] | None = eqx.field(converter=optional_array, default=None)
    share: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if isinstance(self.energy, Tracer) or not eqx.is_array(self.energy):
            return
        here = f"flux {self.name!r}"
        energy = np.asarray(self.energy)
        if energy.ndim != 1 or energy.size < 2 or not np.all(np.diff(energy) > 0):
            raise ValueError(f"{here}: energies must increase and be at least two, in MeV")
        if not (energy[0] >= 0 and energy[-1] < _MOST):
            raise ValueError(f"{here}: energies must be finite and not negative (MeV)")
        if self.shape.shape != energy.shape or self.total.shape != ():
            given = f"shape {self.shape.shape} and total {self.total.shape}"
            raise ValueError(f"{here}: {given} must be one number per energy and one: a flux more is a channel more")
        for what, given in (("shape", self.shape), ("total", self.total)):
            if isinstance(given, Tracer):
                continue
            values = np.asarray(given)
            if not np.all((values >= 0) & (values < _MOST)):
                raise ValueError(f"{here}: {what} must be finite and not negative, below {_MOST:g} cm^-2 s^-1")
        if not isinstance(self.shape, Tracer):
            area = float(np.trapezoid(np.asarray(self.shape, float), energy))
            if not abs(area - self.share) <= _AREA * self.share:
                remedy = "divide by it; or say by `share` that the total counts others too"
                raise ValueError(
                    f"{here}: the area of the shape is {area:.6g} and must be {self.share:.6g}: {remedy}"
                )
        self._check_sources(here)
        if self.error is not None and not _ERRORS[0] <= self.error <= _ERRORS[1]:
            low, high = _ERRORS
            raise ValueError(f"{here}: error {self.error:g} must be from {low:g} to {high:g}, 0.12 for 12%")
        for flavour in self.flavours:
            if flavour not in FLAVOURS:
                raise ValueError(f"{here}: {unknown('flavour', flavour, FLAVOURS)}")
        if len(set(self.flavours)) != len(self.flavours):
            raise ValueError(f"{here}: a flavour is named twice among {', '.join(self.flavours)}")
        if self.fractions is None:
            if len(self.flavours) > 1:
                raise ValueError(f"{here}: {len(self.flavours)} flavours need their fractions at the energies")
            return
        if isinstance(self.fractions, Tracer):
            return
        share = np.asarray(self.fractions)
        if share.shape != (len(self.flavours), energy.size):
            raise ValueError(
                f"{here}: fractions have shape {share.shape}, expected (flavours, energies) = "
                f"{(len(self.flavours), energy.size)}"
            )
        if not np.all(share >= 0) or not np.allclose(share.sum(axis=0), 1.0, atol=1e-6):
            raise ValueError(f"{here}: fractions of the flavours must not be negative and must add up to one")

    def _check_sources(self, here: str) -> None:
        parts, wanted = self.source_shapes, (len(self.sources), self.energy.size)
        if parts is None and len(self.sources) > 1:
            raise ValueError(f"{here}: {len(self.sources)} sources need their shapes at the energies")
        if parts is None or isinstance(parts, Tracer) or isinstance(self.shape, Tracer):
            return
        if parts.shape != wanted or not np.all(np.asarray(parts) >= 0):
            raise ValueError(f"{here}: source_shapes have shape {parts.shape}, expected {wanted}, none negative")
        if not np.allclose(np.sum(parts, axis=0), self.shape, rtol=1e-4, atol=1e-6 * float(np.max(self.shape))):
            raise ValueError(f"{here}: the source_shapes must add up to the shape")

    @property
    def parameter(self) -> Parameter:
        """Its normalisation."""
        default = 1.0 if self.relative else float(np.asarray(self.total))
        own: dict[str, Any] = {"prior": "uniform:0:4e7"} if self.name == "b8" else {}
        return Parameter(
            f"{FLUX}.{self.name}",
            default=default,
            unit="" if self.relative else FLUX_UNIT,
            lower=0.0,
            sigma=None if self.error is None or default == 0 else self.error * default,
            label=rf"$\Phi$({self.name})" if self.relative else rf"$\Phi$({self.name}) [cm$^{{-2}}$ s$^{{-1}}$]",
            scale=default or None,
            null=0.0,
            kind=FLUX,
            **own,
        )

    @property
    def flavour_shapes(self) -> Float[Array, "flavour energy"]:
        """Density of each flavour at the nodes in MeV^-1; of the whole, in one row, where flavours are unknown."""
        return self.shape[None] if self.fractions is None else self.fractions * self.shape


SOLAR_FLAVOURS = ("e", "mu", "tau")


def solar_fractions(
    source: str,
    energy: Float[np.ndarray, " energy"],
    theta_23: float | None = None,
    delta: float | None = None,
) -> Float[np.ndarray, "3 energy"]:
    """Shares of nu_e, nu_mu, nu_tau of a solar source at Earth by day (card `solar_survival`).

    The adiabatic survival probability P_ee averaged over the region of production is that of the card, at its
    theta_12 and theta_13 of NuFIT 6.0, and says how much of each mass state arrives. The rows mu and tau of the
    mixing matrix then share the rest; standard matter does not see theta_23 and delta. That matter moves theta_13 is
    left out, as in the card: 1e-3 of the shares.

    Args:
        source: pp, be7, b8 or hep.
        energy: MeV.
        theta_23: rad; that of NuFIT 6.0, normal ordering, if absent.
        delta: CP phase in rad; the same. With theta_23 of 45 degrees and a phase of 90, mu and tau are alike.
    """
    table = datasets.read_table("solar_survival")
    survival = np.interp(energy, table["energy_MeV"], table[source])
    best = {name: value for name, (value, _, _) in nufit60_errors().items()}
    theta_23, delta = best["theta23"] if theta_23 is None else theta_23, best["delta_CP"] if delta is None else delta
    s12, c12 = np.sin(best["theta12"]), np.cos(best["theta12"])
    s13, c13 = np.sin(best["theta13"]), np.cos(best["theta13"])
    third = s13**2
    first = ((survival - s13**2 * third) / c13**2 - (1 - third) * s12**2) / (c12**2 - s12**2)
    phase = s13 * np.exp(1j * delta)
    s23, c23 = np.sin(theta_23), np.cos(theta_23)
    row = np.array([-s12 * c23 - c12 * s23 * phase, c12 * c23 - s12 * s23 * phase, s23 * c13])
    mu = np.abs(row) ** 2 @ np.stack([first, 1 - third - first, np.full_like(first, third)])
    return np.stack([survival, mu, 1 - survival - mu])


def combine(
    name: str, fluxes: Sequence[NeutrinoFlux], error: float | None = None, relative: bool = False
) -> NeutrinoFlux:
    """The sum of several fluxes as one, on the nodes of all; a jump where one ends is a ramp of 1e-9 in E.

    Args:
        name: of the sum.
        fluxes: with known flavours.
        error: relative error of the total.
        relative: as for `NeutrinoFlux`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> both = jc.physics.combine("8B and hep", [jc.physics.b8(), jc.physics.hep()])
        >>> both.flavours, f"{float(both.total):.4g}"
        (('e', 'mu', 'tau'), '5.468e+06')
    """
    if not fluxes or any(not flux.flavours for flux in fluxes):
        raise ValueError(f"flux {name!r}: only fluxes with known flavours can be combined, and at least one")
    energy = np.unique(np.concatenate([np.asarray(flux.energy) for flux in fluxes]))
    # A spectrum that starts or ends above zero jumps there: a node just outside keeps the jump in its place.
    step = 1e-9 if jnp.result_type(float) == jnp.float64 else 1e-6
    ends = [np.array([f.energy[0] * (1 - step), f.energy[-1] * (1 + step)]) for f in fluxes]
    energy = np.unique(np.concatenate([energy, *ends]))
    flavours = tuple(f for f in FLAVOURS if any(f in flux.flavours for flux in fluxes))
    rows = np.zeros((len(flavours), energy.size))
    total = float(sum(float(flux.total) for flux in fluxes))
    for flux in fluxes:
        for flavour, row in zip(flux.flavours, np.asarray(flux.flavour_shapes), strict=True):
            values = np.interp(energy, np.asarray(flux.energy), row, left=0.0, right=0.0)
            rows[flavours.index(flavour)] += float(flux.total) / total * values
    shape = rows.sum(axis=0)
    share = np.where(shape > 0, rows / np.where(shape > 0, shape, 1.0), 1 / len(flavours))
    sources, parts = _sources(fluxes, energy, total)
    whole = sum(float(flux.total) * flux.share for flux in fluxes) / total if total else 1.0
    return NeutrinoFlux(energy, shape, total, name, flavours, share, error, relative, sources, parts, whole)


def _sources(
    fluxes: Sequence[NeutrinoFlux], energy: np.ndarray, total: float
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Solar sources of several fluxes and the shape of each; none unless all are solar."""
    if not all(flux.sources for flux in fluxes):
        return (), None
    names = tuple(dict.fromkeys(name for flux in fluxes for name in flux.sources))
    rows = np.zeros((len(names), energy.size))
    for flux in fluxes:
        own = flux.shape[None] if flux.source_shapes is None else flux.source_shapes
        for name, row in zip(flux.sources, np.asarray(own), strict=True):
            values = np.interp(energy, np.asarray(flux.energy), row, left=0.0, right=0.0)
            rows[names.index(name)] += float(flux.total) / total * values
    return names, rows


def b8(
    shape: str = "bahcall1996",
    shift: float = 0.0,
    total: float = B8_FLUX,
    theta_23: float | None = None,
    delta: float | None = None,
) -> NeutrinoFlux:
    """Solar 8B flux.

    Args:
        shape: `bahcall1996` (PRC 54, 411; XENONnT's templates fold back with it) or `winter2006` (PRC 73, 025503).
        shift: deformation of the Winter 2006 shape in units of its correlated 1 sigma error.
        total: cm^-2 s^-1.
        theta_23: rad, with `delta`, what shares nu_mu and nu_tau, see `solar_fractions`; NuFIT 6.0's if absent.
        delta: rad.

    Raises:
        ValueError: unknown shape, a shift of a shape that has none, or a negative total.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flux = jc.physics.b8()
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
    energy = table["energy_MeV"]
    shares = solar_fractions("b8", energy, theta_23, delta)
    return NeutrinoFlux(energy, values, total, "b8", SOLAR_FLAVOURS, shares, B8_RELATIVE_ERROR, sources=("b8",))


def hep(total: float = 7.98e3, theta_23: float | None = None, delta: float | None = None) -> NeutrinoFlux:
    """Solar hep flux, B16-GS98 total in cm^-2 s^-1 (arXiv:1611.09867); adds under 1% above 1 keV.

    Args:
        total: cm^-2 s^-1.
        theta_23: rad, as for `b8`.
        delta: rad.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> events = jc.physics.counts_above(jc.StandardModel(), jc.physics.hep(), jc.physics.xenon(), jnp.ones(1))
        >>> round(float(events[0]), 3)  # events per tonne-year above 1 keV
        0.844
    """
    table = datasets.read_table("hep_spectrum")
    energy = table["energy_MeV"]
    shares = solar_fractions("hep", energy, theta_23, delta)
    return NeutrinoFlux(energy, table["density_per_MeV"], total, "hep", SOLAR_FLAVOURS, shares, sources=("hep",))


def density(flux: NeutrinoFlux, energy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Unit-area spectrum at `energy` (MeV), in MeV^-1; zero outside the nodes."""
    return jnp.interp(energy, flux.energy, flux.shape, left=0.0, right=0.0)


def flavour_moments(flux: NeutrinoFlux, e_min: Float[Array, "*shape"]) -> Float[Array, "flavour 3 *shape"]:
    """`inverse_energy_moments` of every flavour of a flux; of the whole, in one row, where flavours are unknown."""
    return jax.vmap(lambda row: _moments(flux.energy, row, e_min))(flux.flavour_shapes)


def inverse_energy_moments(flux: NeutrinoFlux, e_min: Float[Array, "*shape"]) -> Float[Array, "3 *shape"]:
    """M_k = integral of shape(E)/E^k over E > e_min, k = 0, 1, 2, exact for a piecewise-linear shape.

    The E integral of eq. 11 of arXiv:2411.11749 depends on the recoil energy only through `e_min`, and
    every cross section here is a polynomial in 1/E of degree two: these moments are all it needs.

    Args:
        flux: the spectrum.
        e_min: lower limits in MeV, any shape. Zero and below are read as 1e-3 MeV.

    Returns:
        Moments in MeV^-k, shape (3, *e_min.shape); zero at and above the end point.
    """
    return _moments(flux.energy, flux.shape, e_min)


def _moments(
    energy: Float[Array, " energy"], shape: Float[Array, " energy"], e_min: Float[Array, "*shape"]
) -> Float[Array, "3 *shape"]:
    nodes = jnp.maximum(energy, _LOWEST_ENERGY)
    slope = jnp.diff(shape) / jnp.diff(energy)

    def segment(lower, upper, start, value, slope):
        """Integrals over E^k between two energies of one segment, where the shape is value + slope (E - start)."""
        # About the middle, in x = half width over middle: a line is so narrow that anything else cancels.
        width, middle = upper - lower, (upper + lower) / 2
        x = width / (2 * middle)
        height = value + slope * (middle - start)
        small = x < _NARROW
        y = jnp.where(small, x, 0.0) ** 2
        z = jnp.where(small, _NARROW, x)
        # x - atanh x and atanh x - x/(1 - x^2)
        first = jnp.where(small, -x * y * (1 / 3 + y * (1 / 5 + y / 7)), z - jnp.arctanh(z))
        second = jnp.where(
            small, -x * y * (2 / 3 + y * (4 / 5 + y * (6 / 7 + y * 8 / 9))), jnp.arctanh(z) - z / (1 - z**2)
        )
        return jnp.stack(
            [
                width * height,
                2 * jnp.arctanh(x) * height + 2 * slope * middle * first,
                width / (upper * lower) * height + 2 * slope * second,
            ]
        )

    whole = segment(nodes[:-1], nodes[1:], energy[:-1], shape[:-1], slope)
    above = jnp.concatenate([jnp.cumsum(whole[:, ::-1], axis=1)[:, ::-1], jnp.zeros_like(whole[:, :1])], axis=1)
    e_min = jnp.clip(e_min, nodes[0], nodes[-1])
    index = jnp.clip(jnp.searchsorted(energy, e_min, side="right") - 1, 0, slope.size - 1)
    partial = segment(e_min, nodes[index + 1], energy[index], shape[index], slope[index])
    return partial + above[:, index + 1]
