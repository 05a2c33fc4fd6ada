"""Figures in a plane of two parameters: scans, contours, and limits along a line of places."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from jcevns.constants import chi2_threshold
from jcevns.fit.contour import Contour
from jcevns.fit.rounding import percent
from jcevns.plot.style import LINES, axes_or_new, axis_label, is_log, plain
from jcevns.statistics.limits import Limit

if TYPE_CHECKING:
    import xarray

__all__ = ["ExclusionPlot", "borders", "plot_contour", "plot_contours", "plot_limits", "plot_scan", "plot_scan_curve"]


@dataclasses.dataclass(frozen=True)
class ExclusionPlot:
    """Artists of a figure in a plane; lines by name or confidence level."""

    ax: Axes
    contours: dict[Any, Any]
    shading: Any


def _set_axes(ax: Axes, values: Sequence[Any], labels: Sequence[str]) -> None:
    for which, own, label in zip("xy", values, labels, strict=True):
        if is_log(own):
            getattr(ax, f"set_{which}scale")("log")
        getattr(ax, f"set_{which}label")(label)


def _title(result: "xarray.Dataset", cl: float, threshold: float) -> str:
    settings = result.attrs.get("settings", {})
    name = str(settings.get("theory", "")) if isinstance(settings, Mapping) else ""
    held = [f"{d} = {v.item():.4g}" for d in map(str, result.chi2.dims) if (v := result[d].values).size == 1]
    front = ", ".join(plain(text) for text in (name, *held) if text)
    level = rf"{percent(cl)} CL: $\Delta\chi^2$ = {threshold:.2f} from the lowest point"
    return f"{front}, {level}" if front else level


def _checked(result: "xarray.Dataset", axes: int) -> "xarray.Dataset":
    """The scan with increasing axes, of which so many have several values; dimensions of one value are last."""
    several = [d for d in result.chi2.dims if result.sizes[d] > 1]
    if len(several) != axes:
        held = [str(d) for d in result.chi2.dims if d not in several]
        one = f" ({' and '.join(held)}: one value)" if held else ""
        what = "a plane takes a scan of two axes" if axes == 2 else "a curve takes a scan of one axis"
        other = {1: "plot_scan_curve draws a curve", 2: "plot_scan draws a plane"}.get(len(several), "fix the others")
        raise ValueError(f"{what} with several values, this one has {len(several)}{one}: {other}")
    if not np.any(np.isfinite(result.chi2.values)):
        raise ValueError("the scan holds no valid point to plot")
    return result.sortby(several).transpose(..., *several, *(d for d in result.chi2.dims if d not in several))


def plot_scan_curve(
    result: "xarray.Dataset", ax: Axes | None = None, cl: float = 0.90, dof: int = 1
) -> ExclusionPlot:
    """Delta chi2 along the one axis of a scan that has several values, with the threshold of a confidence level.

    Args:
        result: from `jcevns.scan`.
        ax: axes to draw on; new ones if None.
        cl: confidence level.
        dof: parameters of interest.

    Raises:
        ValueError: not one axis with several values, or no valid point.
    """
    threshold = chi2_threshold(cl, dof)
    result = _checked(result, 1)
    ax = axes_or_new(ax)
    c = result[str(next(d for d in result.chi2.dims if result.sizes[d] > 1))]
    label, scale = axis_label(str(c.name), c.attrs.get("units", ""), c.attrs.get("long_name", ""))
    x, chi2 = c.values / scale, result.chi2.values.ravel()
    (curve,) = ax.plot(x, chi2 - np.nanmin(chi2), color=LINES[0], marker="." if x.size < 40 else None)
    line = ax.axhline(threshold, color="#666666", lw=0.7, ls=":")
    if is_log(x):
        ax.set_xscale("log")
    ax.set(xlabel=label, ylabel=r"$\Delta\chi^2$", ylim=(0, 4 * threshold), title=_title(result, cl, threshold))
    return ExclusionPlot(ax, {cl: line}, curve)


def plot_scan(result: "xarray.Dataset", ax: Axes | None = None, cl: float = 0.90, dof: int = 1) -> ExclusionPlot:
    """Delta chi2 of a scan with the border of its confidence region.

    Args:
        result: from `jcevns.scan`, two axes; the first is drawn horizontally.
        ax: axes to draw on; new ones if None.
        cl: confidence level.
        dof: parameters of interest.

    Raises:
        ValueError: not two axes with several values each, or no valid point.
    """
    threshold = chi2_threshold(cl, dof)
    result = _checked(result, 2)
    ax = axes_or_new(ax)
    coordinates = [result[str(d)] for d in result.chi2.dims if result.sizes[d] > 1]
    chi2 = result.chi2.values.reshape([c.size for c in coordinates])
    z = np.ma.masked_invalid((chi2 - np.nanmin(chi2)).T)
    found = [axis_label(str(c.name), c.attrs.get("units", ""), c.attrs.get("long_name", "")) for c in coordinates]
    x, y = (c.values / scale for c, (_, scale) in zip(coordinates, found, strict=True))
    _set_axes(ax, (x, y), [label for label, _ in found])
    mesh = ax.pcolormesh(x, y, np.ma.maximum(z, 1e-2), norm=LogNorm(1e-2, 1e3), cmap="cividis", shading="nearest")
    invalid = np.ma.getmaskarray(z)
    if invalid.any():
        ax.contourf(x, y, invalid.astype(float), levels=[0.5, 1.5], colors="none", hatches=["xxxx"])
    line = ax.contour(x, y, z, levels=[threshold], colors="white", linewidths=1.4)
    ax.figure.colorbar(mesh, ax=ax, label=r"$\Delta\chi^2$", extend="both")
    ax.set_title(_title(result, cl, threshold) + ("; hatched: not valid" if invalid.any() else ""))
    return ExclusionPlot(ax, {cl: line}, mesh)


def plot_contour(contour: Contour, ax: Axes | None = None) -> ExclusionPlot:
    """Borders of confidence regions in a plane, the best fit as a cross.

    Args:
        contour: from `contour`.
        ax: axes to draw on; new ones if None.
    """
    return plot_contours({"": contour}, ax)


def plot_contours(contours: Mapping[str, Contour], ax: Axes | None = None) -> ExclusionPlot:
    """Confidence regions of several likelihoods in one plane, a colour for each, a style of line for each level.

    Args:
        contours: from `contour`, of the same parameters, by the words of the legend.
        ax: axes to draw on; new ones if None.

    Returns:
        The lines by label, and in it by confidence level; of a single contour without label by level alone. The
        crosses of the best fits as `shading`.

    Raises:
        ValueError: none, or of different parameters.
    """
    planes = {contour.names for contour in contours.values()}
    if len(planes) != 1:
        raise ValueError(f"contours of one plane, not of {' and '.join(map(str, planes)) or 'none'}: draw each apart")
    ax, first = axes_or_new(ax), next(iter(contours.values()))
    words = [axis_label(*entry) for entry in zip(first.names, first.units, first.labels, strict=True)]
    scales = np.array([scale for _, scale in words])
    drawn: dict[str, Any] = {}
    crosses, values = [], []
    for number, (label, contour) in enumerate(contours.items()):
        lines: dict[Any, Any] = {}
        for i, cl in enumerate(contour.cl):
            closed = all(contour.closed[cl])
            text = f"{percent(cl)} CL" + ("" if closed else ", open at the border")
            colour = LINES[(number if len(contours) > 1 else i) % len(LINES)]
            look: dict[str, Any] = {"color": colour, "ls": ("-", "--", "-.", ":")[i % 4]}
            lines[cl] = [ax.plot(*(line / scales).T, **look)[0] for line in contour.lines[cl]]
            if lines[cl]:
                lines[cl][0].set_label(", ".join(filter(None, (label, text))))
            values += [line / scales for line in contour.lines[cl]]
        best = np.asarray(contour.best_fit, float)[None] / scales
        colour = "black" if len(contours) == 1 else LINES[number % len(LINES)]
        crosses += ax.plot(*best.T, "x", color=colour, label="best fit" if number == 0 else None)
        values.append(best)
        drawn[label] = lines
    _set_axes(ax, tuple(np.concatenate(values).T), [label for label, _ in words])
    dof = " or ".join(map(str, sorted({contour.dof for contour in contours.values()})))
    bad = [label for label, contour in contours.items() if not contour.valid]
    invalid = f", NOT VALID{': ' if any(bad) else ''}{', '.join(filter(None, bad))}" if bad else ""
    ax.set_title(rf"$\Delta\chi^2$ for {dof} parameter{'' if dof == '1' else 's'}{invalid}")
    ax.legend(fontsize=8)
    if len(contours) == 1 and "" in drawn:
        return ExclusionPlot(ax, drawn[""], crosses[0])
    return ExclusionPlot(ax, drawn, crosses)


def borders(results: Sequence[Limit]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place, lower border, top of the excluded island, bottom of the region above its allowed band.

    The place is that of the first of the other parameters. The lower border goes on where a band opens above it; the
    other two are NaN where there is no band. Where a band opens between two places its ends meet at the one without:
    neither lines nor filling leave a gap that no limit has. Where instead an island appears below a region, the
    region's border goes on and the lower one is broken.
    """
    varied = {name for r in results for name in r.at if len({other.at.get(name) for other in results}) > 1}
    if any(not r.at for r in results):
        raise ValueError("a figure of limits needs a limit at each value of another parameter: limits(..., over=...)")
    along = next(iter(results[0].at))
    if varied - {along}:
        raise ValueError(f"a line of limits is along {along}, these differ in {', '.join(sorted(varied - {along}))}")
    results = sorted(results, key=lambda r: r.at[along])
    place = np.array([r.at[along] for r in results])
    # Closed intervals are islands, the open one is the region above.
    island = np.full((2, place.size), np.nan)
    region = np.full(place.size, np.nan)
    for i, r in enumerate(results):
        for low, high in r.excluded:
            if high is None:
                region[i] = np.nan if low is None else low
            else:
                island[:, i] = np.nan if low is None else low, high
    banded = np.isfinite(island[0])
    lower, above = np.where(banded, island[0], region), np.where(banded, region, np.nan)
    edges = np.stack([place, lower, island[1], above])
    for i in np.flatnonzero(banded[1:] != banded[:-1])[::-1]:
        inside, outside = (i + 1, i) if banded[i + 1] else (i, i + 1)
        at = lower[outside]
        if abs(above[inside] - at) < abs(lower[inside] - at):
            edges[3, outside] = at
            row = (place[inside], np.nan, np.nan, above[inside])
        else:
            tip = (island[1, inside] + above[inside]) / 2 + at - lower[inside]
            row = (place[outside], at, tip, tip)
        edges = np.insert(edges, i + 1, np.array(row, float), axis=1)
    place, lower, closed, above = edges
    return place, lower, closed, above


def plot_limits(
    found: Mapping[str, Sequence[Limit]] | Sequence[Limit],
    ax: Axes | None = None,
    title: str = "",
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    shaded: Sequence[str] = (),
    labels: tuple[str, str] = ("", ""),
    range_: tuple[float, float] | None = None,
) -> ExclusionPlot:
    """Excluded values of a parameter against one other, as one panel of Fig. 4 of arXiv:2411.11749.

    Args:
        found: limits at values of one other parameter, or several sets of them by name.
        ax: axes to draw on; new ones if None.
        title: above the panel.
        styles: name to keywords of its line.
        shaded: names whose excluded values are filled.
        labels: of the axes.
        range_: of the vertical axis; what the borders need if absent.
    """
    ax = axes_or_new(ax)
    sets = dict(found) if isinstance(found, Mapping) else {found[0].name: found}
    drawn, shading = {}, []
    edges = {name: borders(results) for name, results in sets.items()}
    every = np.concatenate([np.concatenate(edge[1:]) for edge in edges.values()])
    every = every[np.isfinite(every)]
    if range_ is None:
        range_ = (float(every.min()) / 3, float(every.max()) * 10) if every.size and every.min() > 0 else (0.0, 1.0)
    for i, (name, (place, lower, closed, above)) in enumerate(edges.items()):
        look: dict[str, Any] = {"color": LINES[i % len(LINES)], "lw": 1.5, "label": name} | dict(
            (styles or {}).get(name, {})
        )
        lines = [ax.plot(place, lower, **look)[0]]
        look.pop("label")
        drawn[name] = lines + [ax.plot(place, edge, **look)[0] for edge in (closed, above)]
        if name in shaded:
            region, top = np.where(np.isfinite(above), above, lower), np.full(place.size, range_[1])
            for low, high in ((np.where(np.isfinite(closed), lower, np.nan), closed), (region, top)):
                shading.append(ax.fill_between(place, low, high, color=look["color"], alpha=0.22, lw=0))
    one = next(iter(sets.values()))
    names = (next(iter(one[0].at)), one[0].name)
    place = next(iter(edges.values()))[0]
    _set_axes(ax, (place, range_), [label or name for label, name in zip(labels, names, strict=True)])
    if place[0] < place[-1]:
        ax.set_xlim(place[0], place[-1])
    ax.set_ylim(*range_)
    ax.set_title(title)
    return ExclusionPlot(ax, drawn, shading)
