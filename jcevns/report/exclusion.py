"""Exclusion figures: one scan, and Fig. 4 with five interactions."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from jcevns.constants import chi2_threshold
from jcevns.inference.limits import Limit
from jcevns.report.style import figure

if TYPE_CHECKING:
    import xarray

__all__ = ["INTERACTION_STYLE", "ExclusionPlot", "borders", "plot_exclusion", "plot_scan"]

INTERACTION_STYLE = {
    "scalar": ("#0072B2", "-", "scalar"),
    "vector": ("#D55E00", "-", "vector (universal)"),
    "b-l": ("#009E73", "--", r"vector ($B-L$)"),
    "axial": ("#CC79A7", "-.", "axial"),
    "tensor": ("#E69F00", (0, (4, 1, 1, 1, 1, 1)), "tensor"),
}
"""Colour, line and label of each interaction."""

AXES = {"mass": r"mediator mass [MeV]", "coupling": r"coupling $g$", "b8_flux": r"$^8$B flux [cm$^{-2}$ s$^{-1}$]"}


@dataclasses.dataclass(frozen=True)
class ExclusionPlot:
    """Artists of an exclusion plot."""

    ax: Axes
    contours: dict[str, Any]
    shading: Any


def _delta_chi2(result: "xarray.Dataset") -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, str]]:
    if result.chi2.ndim != 2:
        raise ValueError(f"a plot needs a scan of two axes, this one has {result.chi2.ndim}")
    chi2 = result.chi2.values
    if not np.any(np.isfinite(chi2)):
        raise ValueError("the scan holds no valid point to plot")
    slow, fast = (str(d) for d in result.chi2.dims)
    x, y, z = result[slow].values, result[fast].values, (chi2 - np.nanmin(chi2)).T
    return x, y, np.ma.masked_invalid(z), (slow, fast)


def _axes(ax: Axes, x: np.ndarray, y: np.ndarray, names: tuple[str, str]) -> None:
    for values, name, axis in ((x, names[0], "x"), (y, names[1], "y")):
        if np.all(values > 0):
            getattr(ax, f"set_{axis}scale")("log")
        getattr(ax, f"set_{axis}label")(AXES.get(name, name))


def plot_scan(result: "xarray.Dataset", ax: Axes | None = None, cl: float = 0.90, dof: int = 1) -> ExclusionPlot:
    """Delta chi2 of a scan with the border of its confidence region.

    Args:
        result: from `jcevns.scan`, two axes; the first is drawn horizontally.
        ax: axes to draw on; new ones if None.
        cl: confidence level.
        dof: parameters of interest.
    """
    if ax is None:
        _, (ax,) = figure()
    x, y, z, names = _delta_chi2(result)
    threshold = chi2_threshold(cl, dof)
    _axes(ax, x, y, names)
    mesh = ax.pcolormesh(x, y, np.ma.maximum(z, 1e-2), norm=LogNorm(1e-2, 1e3), cmap="cividis", shading="nearest")
    invalid = np.ma.getmaskarray(z)
    if invalid.any():
        ax.contourf(x, y, invalid.astype(float), levels=[0.5, 1.5], colors="none", hatches=["xxxx"])
    line = ax.contour(x, y, z, levels=[threshold], colors="white", linewidths=1.4)
    ax.figure.colorbar(mesh, ax=ax, label=r"$\Delta\chi^2$", extend="both")
    settings = result.attrs.get("settings", {})
    name = str(settings.get("theory", ""))
    label = INTERACTION_STYLE[name][2] if name in INTERACTION_STYLE else name
    hatched = "; hatched: not valid" if invalid.any() else ""
    ax.set_title(rf"{label}, {cl:.0%} CL: $\Delta\chi^2$ = {threshold:.2f} from the lowest point{hatched}")
    return ExclusionPlot(ax, {name: line}, mesh)


def borders(results: Sequence[Limit]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mass, lower border, top of the excluded island, bottom of the region above its allowed band.

    The lower border goes on where a band opens above it; the other two are NaN where there is no band.
    """
    mass = np.array([r.mass for r in results])
    # Closed intervals are islands, the open one is the region above.
    island = np.full((2, mass.size), np.nan)
    region = np.full(mass.size, np.nan)
    for i, r in enumerate(results):
        for low, high in r.excluded:
            if high is None:
                region[i] = low
            else:
                island[:, i] = low, high
    banded = np.isfinite(island[0])
    return mass, np.where(banded, island[0], region), island[1], np.where(banded, region, np.nan)


def plot_exclusion(
    found: Mapping[str, Sequence[Limit]], ax: Axes | None = None, title: str = "", top: float = 1.0
) -> ExclusionPlot:
    """Excluded couplings against mass for several interactions (as one panel of Fig. 4 of arXiv:2411.11749).

    Args:
        found: interaction to its limits, masses increasing. The universal vector is shaded: it has an excluded
            island below an allowed band.
        ax: axes to draw on; new ones if None.
        title: above the panel.
        top: upper end of the coupling axis.
    """
    if ax is None:
        _, (ax,) = figure()
    drawn, shading = {}, []
    for name, results in found.items():
        colour, line, label = INTERACTION_STYLE.get(name, ("black", "-", name))
        mass, lower, closed, above = borders(results)
        lines = [ax.plot(mass, edge, color=colour, ls=line, lw=1.5)[0] for edge in (lower, closed, above)]
        lines[0].set_label(label)
        drawn[name] = lines
        if name == "vector":
            banded = np.isfinite(closed)
            region = np.where(banded, above, lower)
            for low, high in ((np.where(banded, lower, np.nan), closed), (region, np.full(mass.size, top))):
                shading.append(ax.fill_between(mass, low, high, color=colour, alpha=0.22, lw=0))
    ax.set(xscale="log", yscale="log", xlabel=AXES["mass"], ylabel=AXES["coupling"])
    every = next(iter(found.values()))
    ax.set_xlim(every[0].mass, every[-1].mass)
    ax.set_ylim(1e-6, top)
    ax.set_title(title)
    return ExclusionPlot(ax, drawn, shading)
