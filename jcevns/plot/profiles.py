"""Figures of one parameter: profiles of Delta chi2 with confidence levels, intervals, pulls and correlations."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.fit.interval import Interval, interval, profile_curve
from jcevns.fit.result import Fit
from jcevns.fit.rounding import percent
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood
from jcevns.plot.style import LINES, axes_or_new, axis_label, figure, plain

__all__ = ["ProfilePlot", "plot_fit_correlation", "plot_interval", "plot_profile", "plot_profiles", "plot_pulls"]

LEVELS = ((ONE_SIGMA, r"1$\sigma$"), (0.90, "90% CL"))
"""Confidence levels that are drawn, with their labels."""

_NUMBERED = 12  # parameters up to which a matrix has its numbers written in


@dataclasses.dataclass(frozen=True)
class ProfilePlot:
    """Artists of a profile plot."""

    ax: Axes
    curves: dict[str, Line2D]
    levels: list[Line2D]


def plot_profiles(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ax: Axes | None = None,
    levels: Sequence[tuple[float, str]] = LEVELS,
    highest: float = 6.0,
    reference: tuple[float, float, str] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> ProfilePlot:
    """Profiles of Delta chi2 with their confidence levels (as Fig. 2 of arXiv:2411.11749).

    Args:
        curves: name to (values, Delta chi2).
        xlabel: axis label with unit.
        ax: axes to draw on; new ones if None.
        levels: confidence levels, one parameter, with labels.
        highest: top of the axis.
        reference: value, half width and label of a prediction, drawn as a band.
        styles: name to keywords of its line.
    """
    ax = axes_or_new(ax)
    if reference is not None:
        value, width, label = reference
        ax.axvspan(value - width, value + width, color="#DDDDDD", lw=0, zorder=0)
        ax.axvline(value, color="#888888", lw=0.8, zorder=0)
        place = (value + width, 0.97 * highest)
        ax.annotate(label, place, (4, 0), textcoords="offset points", va="top", fontsize=8, color="#555555")
    drawn = {}
    for i, (name, (x, y)) in enumerate(curves.items()):
        own: dict[str, Any] = {"color": LINES[i % len(LINES)], "label": name} | dict((styles or {}).get(name, {}))
        (drawn[name],) = ax.plot(x, y, **own)
    lines = []
    for cl, label in levels:
        height = chi2_threshold(cl)
        lines.append(ax.axhline(height, color="#666666", lw=0.7, ls=":"))
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        text = f"{label}\n{height:.2f}"
        ax.annotate(text, (1.0, height), (3, 0), va="center", fontsize=7.5, color="#444444", **where)
    ax.set_xlim(min(float(np.min(x)) for x, _ in curves.values()), max(float(np.max(x)) for x, _ in curves.values()))
    ax.set_ylim(0, highest)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(r"$\Delta\chi^2$")
    return ProfilePlot(ax, drawn, lines)


def plot_profile(
    likelihood: Likelihood | Experiments,
    name: str,
    values: Sequence[float] | np.ndarray | None = None,
    ax: Axes | None = None,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
) -> ProfilePlot:
    """Delta chi2 along a parameter, counted from the lowest value over its whole range.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        values: where; around the 90% interval if absent.
        ax: axes to draw on; new ones if None.
        at: as in `interval`.
        profiled: as in `interval`.
        constrained: as in `interval`.

    Example:
        >>> import jcevns as jc
        >>> from jcevns.plot.profiles import plot_profile
        >>> drawn = plot_profile("xenonnt-2024-s2", "sin2w")
        >>> [round(float(line.get_ydata()[0]), 2) for line in drawn.levels]
        [1.0, 2.71]
    """
    likelihood = as_likelihood(likelihood)
    record = likelihood.parameters[name]
    found = interval(likelihood, name, 0.90, at, profiled, constrained)
    if values is None:
        ends = [end for pair in found.segments for end in pair if end is not None] + [found.best_fit]
        margin = 0.3 * (max(ends) - min(ends)) or record.scale or 1.0
        values = np.linspace(max(min(ends) - margin, record.lower), min(max(ends) + margin, record.upper), 161)
    x = np.unique(np.asarray(values, float))  # in order
    chi2 = profile_curve(likelihood, name, x, at, profiled, constrained)
    label, scale = axis_label(record.name, record.unit, record.label)
    words = ", ".join(likelihood.names)
    drawn = plot_profiles({words: (x / scale, chi2 - found.chi2_min)}, label, ax)
    drawn.ax.set_title(words)
    return drawn


def plot_interval(found: Interval, ax: Axes | None = None, label: str = "") -> list[Any]:
    """Accepted segments as bars, the best fit as a point; an arrow where an end is open.

    Args:
        found: from `interval`.
        ax: axes to draw on; new ones if None.
        label: of the parameter's record, in TeX.
    """
    ax = axes_or_new(ax)
    words, scale = axis_label(found.name, found.unit, label)
    known = [e / scale for pair in found.segments for e in pair if e is not None]
    size = (max(known) - min(known)) if len(known) > 1 else abs(found.best_fit / scale) or 1.0
    artists: list[Any] = []
    for low, high in found.segments:
        a = found.best_fit / scale - size if low is None else low / scale
        b = found.best_fit / scale + size if high is None else high / scale
        artists += ax.plot([a, b], [0, 0], color=LINES[0], lw=4, solid_capstyle="butt")
        for end, at, marker in ((low, a, "<"), (high, b, ">")):
            if end is None:
                artists += ax.plot([at], [0], marker, color=LINES[0])
    artists += ax.plot([found.best_fit / scale], [0], "o", color="black")
    ax.set(
        xlabel=words, yticks=[], ylim=(-1, 1), title=f"{percent(found.cl)} CL{'' if found.valid else ', NOT VALID'}"
    )
    return artists


def plot_fit_correlation(fit: Fit, ax: Axes | None = None, nuisances: bool = False) -> Any:
    """Matrix of the correlations of a fit, with its numbers; returns the image.

    Args:
        fit: from `fit`.
        ax: axes to draw on; new ones if None.
        nuisances: of everything that moves, profiled parameters and nuisances too; else of the free parameters.

    Raises:
        ValueError: one parameter alone.
    """
    names, matrix = (fit.names, fit.correlation)
    if nuisances:
        names, matrix = fit.full_covariance.names, fit.full_covariance.correlation
    count = len(names)
    if count < 2:
        raise ValueError(f"a correlation takes two parameters, this fit has {', '.join(names)}")
    if ax is None:
        size = 2.4 + 0.42 * count
        ax = figure(width=size + 0.8, height=size)[1][0]
    image = ax.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1)
    if count <= _NUMBERED:
        for (row, column), value in np.ndenumerate(matrix):
            dark = math.isfinite(value) and abs(value) > 0.6
            text = f"{value:.2f}".replace("-0.00", "0.00") if math.isfinite(value) else "-"
            colour = "white" if dark else "black"
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if count < 8 else 7)
    ax.set_xticks(
        range(count),
        [plain(n) for n in names],
        rotation=30 if count < 4 else 90,
        ha="right" if count < 4 else "center",
    )
    ax.set_yticks(range(count), [plain(n) for n in names])
    ax.tick_params(which="both", length=0)
    ax.minorticks_off()
    ax.figure.colorbar(image, ax=ax, label="correlation", shrink=0.8)
    return image


def plot_pulls(fit: Fit, ax: Axes | None = None) -> Any:
    """Pulls at the minimum, in standard deviations, with their errors after the fit; returns the points.

    The band is the constraint before the fit.

    Args:
        fit: from `fit`.
        ax: axes to draw on; new ones if None.
    """
    names, place = list(fit.pulls), np.arange(len(fit.pulls))
    if ax is None:
        ax = figure(width=5.0, height=1.0 + 0.28 * max(len(names), 2))[1][0]
    ax.axvspan(-1, 1, color="#DDDDDD", lw=0)
    ax.axvline(0, color="#888888", lw=0.8)
    pulls, width = (np.array([values[n] for n in names]) for values in (fit.pulls, fit.pull_errors))
    width = np.where(np.isfinite(width), width, 0.0)
    (points,) = ax.plot(pulls, place, "o", color=LINES[0])
    ax.errorbar(pulls, place, xerr=width, fmt="none", ecolor=LINES[0], capsize=2, lw=1.2)
    ax.set_yticks(place, [plain(n) for n in names])
    ax.tick_params(axis="y", which="minor", length=0)
    ax.set(xlabel="pull [standard deviations]", ylim=(len(names) - 0.5, -0.5))
    ax.set_xlim(*(sign * max(2.0, 1.1 * float(np.max(np.abs(pulls) + width, initial=0.0))) for sign in (-1, 1)))
    return points
