"""Smeared response: bins of reconstructed energy behind a Gaussian resolution and an efficiency."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.detectors.response import Response, check_exposure, legendre_panels
from jcevns.spelling import unknown

__all__ = ["smeared_probability", "smeared_response"]

Curve = Callable[[np.ndarray], Any]
"""A function of energies in keV."""

Table = tuple[Any, Any]
"""Energies in keV and values there, linear in between."""

POWERS = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0, "quadratic": 2.0, "cubic": 3.0}
"""Coefficients of a resolution and their powers of the energy in keV."""

_WIDTHS = 6.0  # standard deviations, beyond which nothing is brought back into the bins
_MOST_PANELS = 2000


def smeared_probability(
    mean_keV: Float[np.ndarray, " true"],
    sigma_keV: Float[np.ndarray, " true"],
    edges: Float[np.ndarray, " edge"],
    kept: Curve | None = None,
    cells: int = 20,
) -> Float[np.ndarray, "bin true"]:
    """Probability to be reconstructed, and kept, in each bin.

    Args:
        mean_keV: mean reconstructed energies, keV.
        sigma_keV: their standard deviations, keV.
        edges: of the bins of reconstructed energy, keV.
        kept: efficiency at a reconstructed energy in keV; one if absent.
        cells: of each bin, in which the efficiency is a constant.
    """
    from scipy.special import ndtr

    fine = np.append(
        np.concatenate([np.linspace(a, b, cells + 1)[:-1] for a, b in itertools.pairwise(edges)]), edges[-1]
    )
    share = np.diff(ndtr((fine - mean_keV[:, None]) / sigma_keV[:, None]), axis=1)
    if kept is not None:
        share = share * kept((fine[1:] + fine[:-1]) / 2)
    return share.reshape(-1, edges.size - 1, cells).sum(axis=-1).T


def smeared_response(
    edges: Sequence[float] | np.ndarray,
    exposure: float,
    resolution: Curve | Table | Mapping[str, float],
    efficiency: Curve | Table | None = None,
    efficiency_at: str = "true",
    quenching: Curve | Table | float = 1.0,
    panels: Sequence[float] | np.ndarray | None = None,
    breaks: Sequence[float] | np.ndarray = (),
    order: int = 4,
    cells: int = 20,
) -> Response:
    """Response of a detector with a Gaussian resolution, in bins of reconstructed energy.

    A recoil of true energy T is seen as quenching(T) T on average, with the standard deviation of the resolution
    there. For electron recoils, and for nuclear recoils whose energy is measured as such, nothing is quenched.

    Args:
        edges: of the bins in keV, increasing.
        exposure: tonne-year.
        resolution: standard deviation in keV at the mean seen energy in keV: a function; a table (energies, sigma),
            constant beyond its ends; or coefficients, as `{"sqrt": 0.31, "linear": 0.0037}` for 0.31 sqrt(E) +
            0.0037 E, of `constant`, `sqrt`, `linear`, `quadratic`, `cubic`.
        efficiency: a function, or a table (energies in keV, efficiency), zero outside it; one if absent.
        efficiency_at: whether it belongs to the `true` recoil energy or to the `reconstructed` one.
        quenching: seen over true energy at a true energy; a number, a function or a table.
        panels: edges in keV of the Gauss-Legendre panels in true energy. By default from no energy to six standard
            deviations above the last bin, none wider than the resolution.
        breaks: further true energies in keV where panels end, as those where a shell of electrons opens.
        order: nodes of each panel.
        cells: of each bin, in which an efficiency at the reconstructed energy is a constant.

    Raises:
        ValueError: edges, panels or a table that do not increase, an exposure or a resolution that is not positive,
            an efficiency outside [0, 1], an unknown coefficient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> response = jc.detectors.smeared_response([1.0, 2.0, 3.0], exposure=1.0, resolution={"sqrt": 0.3})
        >>> counts = response(100 * jnp.exp(-response.recoil_keV))  # of events/(tonne year keV)
        >>> [round(n, 2) for n in counts.tolist()]  # per bin; 23.25 and 8.55 with a sharp resolution
        [22.7, 8.7]
    """
    edges = _increasing("bin edges", edges)
    check_exposure(exposure)
    if efficiency_at not in ("true", "reconstructed"):
        raise ValueError(unknown("smeared response: efficiency_at", efficiency_at, ("true", "reconstructed")))
    spread = _checked("resolution", _curve("resolution", resolution))
    kept = None if efficiency is None else _checked("efficiency", _curve("efficiency", efficiency, 0.0), 1.0)
    factor = _curve("quenching", {"constant": quenching} if isinstance(quenching, int | float) else quenching)

    def seen(true: np.ndarray) -> np.ndarray:
        return factor(true) * true

    ends = np.asarray(breaks, float)
    limits = (0.0, np.inf)
    if efficiency_at == "true" and isinstance(efficiency, tuple):
        limits = (max(0.0, float(efficiency[0][0])), float(efficiency[0][-1]))
        ends = np.append(ends, efficiency[0])
    panels = _panels(edges, seen, spread, limits) if panels is None else _increasing("panels", panels)
    panels = np.unique(np.append(panels, ends[(ends > panels[0]) & (ends < panels[-1])]))
    true, weight = (x.ravel() for x in legendre_panels(panels, order))
    scale = weight * exposure
    if kept is not None and efficiency_at == "true":
        scale, kept = kept(true) * scale, None
    mean = seen(true)
    return Response(true, smeared_probability(mean, spread(mean), edges, kept, cells) * scale)


def _increasing(what: str, values: Any) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size < 2 or not (np.all(np.diff(values) > 0) and values[0] >= 0):
        raise ValueError(f"smeared response: {what} must be at least two, increase and not be negative (keV)")
    return values


def _checked(what: str, curve: Curve, most: float = np.inf) -> Curve:
    """The function with its values checked: positive, or between 0 and `most`."""

    def checked(energy: np.ndarray) -> np.ndarray:
        values = np.broadcast_to(np.asarray(curve(energy), float), energy.shape)
        good = (values > 0) & np.isfinite(values) if np.isinf(most) else (values >= 0) & (values <= most)
        if not np.all(good):
            wanted = "positive, in keV" if np.isinf(most) else f"between 0 and {most:g}"
            at = f"{values[~good][0]:g} at {energy[~good][0]:.4g} keV"
            raise ValueError(f"smeared response: {what} is {at}, it must be {wanted}")
        return values

    return checked


def _curve(what: str, given: Any, outside: float | None = None) -> Curve:
    """A function from what describes it; a table keeps its end values outside, or has the one given."""
    if callable(given):
        return given
    if isinstance(given, Mapping):
        for name in given:
            if name not in POWERS:
                raise ValueError(unknown(f"smeared response: {what} coefficient", name, POWERS))
        terms = [(float(number), POWERS[name]) for name, number in given.items()]
        return lambda energy: sum((number * energy**power for number, power in terms), np.zeros_like(energy))
    energy, value = (np.asarray(column, float) for column in given)
    if energy.ndim != 1 or energy.shape != value.shape or energy.size < 2 or not np.all(np.diff(energy) > 0):
        raise ValueError(f"smeared response: energies of the {what} must be at least two and increase (keV)")
    if outside is not None and not np.all((value >= 0) & (value <= 1)):
        raise ValueError(f"smeared response: {what} must be between 0 and 1")
    return lambda at: np.interp(at, energy, value, left=outside, right=outside)


def _panels(edges: np.ndarray, seen: Curve, spread: Curve, limits: tuple[float, float]) -> np.ndarray:
    """Panels over the true energies that reach the bins: of half their energy, and of the resolution, at most."""

    def width(true: float) -> tuple[float, float]:
        mean = seen(np.array([true]))
        return float(mean[0]), float(spread(mean)[0])

    low, high = limits
    top = edges[-1]
    while top < high and width(top)[0] - _WIDTHS * width(top)[1] < edges[-1]:
        top *= 1.05
        if top > 1e3 * edges[-1]:
            raise ValueError(
                "smeared response: the resolution brings any energy back into the bins: give `panels`, the true "
                "energies to integrate over"
            )
    top = min(top, high)
    if low >= top:
        raise ValueError(
            f"smeared response: no true energy above {low:g} keV, where the efficiency begins, reaches the bins, "
            f"which end at {edges[-1]:g} keV"
        )
    found, step = [low], 1e-3 * (top - low)
    while found[-1] + step < top:
        found.append(found[-1] + step)
        step = max(min(found[-1] / 2, width(found[-1])[1]), (top - low) / _MOST_PANELS)
    return np.array([*found, top])
