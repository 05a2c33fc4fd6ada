"""Whether the parts of an experiment fit each other."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from jcevns.detectors.response import Response
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.nuisances import check_name
from jcevns.physics.electrons import ElectronTarget
from jcevns.physics.flux import FLUX, NeutrinoFlux
from jcevns.physics.nuclei import Target

__all__ = ["OF_PART", "SIGNAL", "check_channel", "check_edges", "check_experiment"]

SIGNAL = "signal"
"""Name of the component that the theory predicts."""

OF_PART = f"{SIGNAL}:"
"""Then the name of a part: its signal, as a component of nuisances."""

_MOST_COUNTS = 1e15
"""Counts that double precision tells apart."""


def check_experiment(experiment: Any, statuses: Sequence[str]) -> None:
    """Raise ValueError where parts of an experiment do not fit.

    Args:
        experiment: the record.
        statuses: words that its status may be.
    """
    here = f"experiment {experiment.name!r}"
    check_name("experiment", experiment.name)
    if experiment.name == FLUX:
        raise ValueError(f"{here}: the name is that of the fluxes, as {FLUX}.b8: choose another")
    for what, texts in (
        ("observable", (experiment.observable,)),
        ("note", (*experiment.notes, *([experiment.overlap] if experiment.overlap else []))),
        ("run", experiment.runs),
    ):
        for text in texts:
            if not text.isprintable():
                raise ValueError(f"{here}: {what} {text!r} holds control characters: write it in one line")
    for name in experiment.backgrounds:
        check_name(f"{here}: background", name)
    for channel in experiment.channels:
        check_name(f"{here}: flux", channel.flux.name)
    _check_fluxes(here, [channel.flux for channel in experiment.channels])
    if experiment.status not in statuses:
        raise ValueError(f"{here}: status {experiment.status!r} is not one of {', '.join(statuses)}")
    if not experiment.channels:
        raise ValueError(f"{here}: give at least one channel, Channel(flux, target, response)")
    if experiment.morphing not in ("grid", "sum"):
        raise ValueError(f"{here}: morphing {experiment.morphing!r} must be 'grid' or 'sum'")
    anchors = tuple(len(s.anchors) for s in experiment.shapes)
    if experiment.morphing == "sum" and anchors:
        anchors = (sum(anchors),)
    bins = experiment.channels[0].response.matrix.shape[-2]
    for channel in experiment.channels:
        shape = channel.response.matrix.shape
        if shape[-2] != bins:
            raise ValueError(f"{here}: one channel has {bins} bins, another {shape[-2]}")
        if shape[:-2] != anchors:
            raise ValueError(f"{here}: a response has anchors {shape[:-2]}, its shape nuisances {anchors}")
        _check_response(here, channel.response)
    if experiment.bin_edges and len(experiment.bin_edges) != bins + 1:
        raise ValueError(f"{here}: {len(experiment.bin_edges)} bin edges for {bins} bins, expected {bins + 1}")
    if not (np.all(np.isfinite(experiment.bin_edges)) and np.all(np.diff(experiment.bin_edges) > 0)):
        raise ValueError(f"{here}: bin_edges {experiment.bin_edges} must be finite and increase")
    _check_axes(here, experiment.axes, bins)
    known = {SIGNAL, *(f"{OF_PART}{part}" for part, _ in experiment.parts), *experiment.backgrounds}
    _check_parts(here, experiment.parts, bins)
    if SIGNAL in experiment.backgrounds:
        raise ValueError(f"{here}: no background may be called {SIGNAL!r}, the theory predicts that one")
    for label, counts in {"observed": experiment.observed, **experiment.backgrounds}.items():
        at_anchors = label != "observed" and counts.ndim > 1
        _check_counts(f"{here}: {label}", counts, (*anchors, bins) if at_anchors else (bins,))
    names = [n.name for n in (*experiment.nuisances, *experiment.shapes)]
    if len(set(names)) != len(names):
        raise ValueError(f"{here}: two nuisances share a name among {', '.join(names)}")
    for nuisance in experiment.nuisances:
        unknown = set(nuisance.components) - known
        if unknown:
            raise ValueError(
                f"{here}: nuisance {nuisance.name!r} acts on unknown {', '.join(sorted(unknown))}; "
                f"components are {', '.join(sorted(known))}"
            )
        if SIGNAL in nuisance.components and any(c.startswith(OF_PART) for c in nuisance.components):
            raise ValueError(f"{here}: nuisance {nuisance.name!r} acts on the signal and on parts of it: name one")


def _check_axes(here: str, axes: Sequence[BinAxis], bins: int) -> None:
    for axis in axes:
        edges = np.asarray(axis.edges, float)
        if edges.size < 2 or not (np.all(np.isfinite(edges)) and np.all(np.diff(edges) > 0)):
            raise ValueError(f"{here}: edges {axis.edges} of axis {axis.label!r} must be finite and increase")
    cells = math.prod(len(axis.edges) - 1 for axis in axes)
    if axes and (bins % cells or len({axis.label for axis in axes}) < len(axes)):
        what = f"{here}: axes of {cells} bins do not divide {bins}, or two have one label"
        raise ValueError(f"{what}: give those of these bins, or axes=()")


def _check_parts(here: str, parts: tuple[tuple[str, int], ...], bins: int) -> None:
    for name, _ in parts:
        check_name(f"{here}: part", name)
    names, sizes = [name for name, _ in parts], [size for _, size in parts]
    if len(set(names)) != len(names) or any(size < 1 for size in sizes) or (parts and sum(sizes) != bins):
        raise ValueError(f"{here}: parts {parts} must have names of their own and {bins} bins in all, 1 or more each")


def _check_response(here: str, response: Response) -> None:
    for what, array in (("energies", response.recoil_keV), ("matrix", response.matrix)):
        if not isinstance(array, Tracer) and not np.all(np.isfinite(np.asarray(array))):
            raise ValueError(f"{here}: the {what} of a response are not finite: check its edges, yields and exposure")


def _check_counts(label: str, counts: Array, shape: tuple[int, ...]) -> None:
    if counts.shape != shape:
        raise ValueError(f"{label}: shape {counts.shape}, but the response has {shape[-1]} bins ({shape})")
    if isinstance(counts, Tracer):
        return
    values = np.asarray(counts)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        raise ValueError(f"{label}: bin {bad[0]} is {values.flat[bad[0]]}, counts must be finite and not negative")
    if np.any(values > _MOST_COUNTS):
        raise ValueError(f"{label}: {values.max():g} counts in a bin are more than {_MOST_COUNTS:g}")


def check_edges(here: str, own: np.ndarray, edges: np.ndarray) -> None:
    """Raise ValueError for bins other than those of the data."""
    if own.shape != edges.shape or not np.allclose(own, edges, rtol=1e-9, atol=1e-12 * np.ptp(edges)):
        raise ValueError(f"{here}: its edges {own.tolist()} are not those of the data, {edges.tolist()}")


def check_channel(channel: Any) -> None:
    """Raise ValueError for a channel whose parts are no flux, target and response."""
    for what, kinds in (("flux", NeutrinoFlux), ("target", (Target, ElectronTarget)), ("response", Response)):
        part = getattr(channel, what)
        if not isinstance(part, kinds):
            raise ValueError(
                f"a channel has a {type(part).__name__} as its {what}: write Channel(flux, target, response), as "
                "Channel(jcevns.physics.b8(), jcevns.physics.xenon(), response)"
            )


def _check_fluxes(here: str, fluxes: Sequence[NeutrinoFlux]) -> None:
    """Channels of one flux share its parameter: they must mean the same by it."""
    first: dict[str, NeutrinoFlux] = {}
    for flux in fluxes:
        known = first.setdefault(flux.name, flux)
        if isinstance(flux.total, Tracer) or isinstance(known.total, Tracer):
            continue
        alike = flux.relative or np.isclose(float(flux.total), float(known.total), rtol=1e-6)
        if flux.relative != known.relative or flux.error != known.error or not alike:
            raise ValueError(
                f"{here}: two channels have fluxes called {flux.name!r} that differ in total, error or kind: their "
                "parameter is one, give the other a name of its own"
            )
