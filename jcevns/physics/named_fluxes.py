"""Neutrino fluxes by name: what files, options and `Experiment.replace` take."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jcevns.physics.flux import NeutrinoFlux, b8, hep
from jcevns.physics.sources import SOLAR_COMPONENTS, reactor, solar, solar_component
from jcevns.spelling import unknown

__all__ = ["FLUXES", "check_distinct_fluxes", "fluxes"]

FLUXES: Mapping[str, Callable[..., NeutrinoFlux]] = {
    "b8": b8,
    "hep": hep,
    **{name: partial(solar_component, name) for name in SOLAR_COMPONENTS},
    "solar": solar,
    "reactor": reactor,
}
"""Fluxes that need no arguments, by name: the parts of the Sun, all of it below 2 MeV, a reactor.

CEvNS of pp, 7Be, pep and CNO neutrinos leaves 0.16 keV on argon and 0.05 keV on xenon at most: these are for
electrons, and for nuclei in detectors with a threshold below.
"""


def fluxes(given: Any) -> tuple[NeutrinoFlux, ...]:
    """Fluxes, each its own parameter, from what a user wrote.

    Args:
        given: a flux or the name of one, several names joined by `+`, or a list of fluxes and names.

    Raises:
        ValueError: an unknown name, a flux twice, or one that is part of another.

    Example:
        >>> import jcevns as jc
        >>> [flux.name for flux in jc.physics.fluxes("b8+hep")]
        ['b8', 'hep']
    """
    if isinstance(given, str):
        pieces: list[Any] = [name.strip() for name in given.split("+")]
    elif isinstance(given, NeutrinoFlux):
        pieces = [given]
    elif isinstance(given, list | tuple):
        pieces = list(given)
    else:
        pieces = [None]
    found = []
    for piece in pieces:
        if isinstance(piece, NeutrinoFlux):
            found.append(piece)
        elif isinstance(piece, str):
            if piece not in FLUXES:
                raise ValueError(unknown("flux", piece, FLUXES))
            found.append(FLUXES[piece]())
        else:
            raise ValueError(f"flux {given!r} must be a NeutrinoFlux, a name as 'b8', or a list of these")
    if not found:
        raise ValueError("the list of fluxes is empty: name one or more, as b8")
    check_distinct_fluxes([flux.name for flux in found])
    return tuple(found)


def check_distinct_fluxes(names: list[str]) -> None:
    """Raise ValueError for neutrinos that would be counted twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"flux {name!r} is given twice: it would be counted twice")
    parts = [name for name in names if name in SOLAR_COMPONENTS]
    if "solar" in names and parts:
        raise ValueError(f"flux 'solar' holds {parts[0]!r}, which would be counted twice: name the parts one by one")
