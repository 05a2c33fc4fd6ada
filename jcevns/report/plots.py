"""Figures. Each function draws on the axes it is given and returns its artists; none shows or saves."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.lines import Line2D
from scipy.special import gammaincinv

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.experiments.experiment import SIGNAL, Experiment
from jcevns.report.style import COLOURS, figure

__all__ = ["LABELS", "ProfilePlot", "SpectrumPlot", "plot_profiles", "plot_spectrum", "poisson_errors"]

LABELS = {
    "signal": r"$^8$B CE$\nu$NS",
    "cathode": "cathode",
    "microdischarge": "micro-discharge",
    "accidental": "accidental coincidence",
    "electronic": "electron recoil",
    "neutron": "neutron",
    "pandax4t-us2": "PandaX-4T US2 (reconstructed)",
    "xenonnt-2024-s2": "XENONnT",
    "combined": "combined",
    "cS2 [PE]": "cS2 [PE]",
    "N_e [electrons]": r"$N_{e^-}$",
}
"""Words for components, experiments and axes."""


@dataclasses.dataclass(frozen=True)
class SpectrumPlot:
    """Artists of a counts plot."""

    ax: Axes
    stack: list[Any]
    data: Container


@dataclasses.dataclass(frozen=True)
class ProfilePlot:
    """Artists of a profile plot."""

    ax: Axes
    curves: dict[str, Line2D]
    levels: list[Line2D]


def poisson_errors(counts: np.ndarray) -> np.ndarray:
    """Central 68.27% Poisson interval (Garwood) around observed counts, as (down, up) distances."""
    counts = np.asarray(counts, float)
    tail = (1 - ONE_SIGMA) / 2
    lower = np.where(counts > 0, gammaincinv(np.maximum(counts, 0.5), tail), 0.0)
    upper = gammaincinv(counts + 1, 1 - tail)
    return np.stack([counts - lower, upper - counts])


def plot_spectrum(
    experiment: Experiment, components: Mapping[str, np.ndarray], ax: Axes | None = None, title: str = ""
) -> SpectrumPlot:
    """Stacked expected counts with data on top (as Fig. 1 of arXiv:2411.11749).

    Args:
        experiment: gives bins, data and labels.
        components: counts per bin of each component; the signal is drawn last, on top.
        ax: axes to draw on; new ones if None.
        title: above the panel.
    """
    if ax is None:
        _, (ax,) = figure()
    bins = len(next(iter(components.values())))
    edges = np.asarray(experiment.bin_edges or np.arange(bins + 1), float)
    order = [name for name in components if name != SIGNAL]
    order.sort(key=lambda name: float(np.sum(components[name])))
    stack, base = [], np.zeros(bins)
    for name in [*order, SIGNAL]:
        top = base + np.asarray(components[name])
        patch = ax.stairs(
            top,
            edges,
            baseline=base,
            fill=True,
            facecolor=COLOURS.get(name, "#BBBBBB"),
            edgecolor="white",
            linewidth=0.4,
            alpha=0.85,
            label=LABELS.get(name, name),
        )
        stack.append(patch)
        base = top
    stack.append(ax.stairs(base, edges, color="black", linewidth=1.1, label="total, fitted"))
    observed = np.asarray(experiment.observed)
    centre = (edges[1:] + edges[:-1]) / 2
    label = "data" if experiment.status != "reconstructed" else "data (reconstructed bins)"
    data = ax.errorbar(
        centre, observed, yerr=poisson_errors(observed), fmt="o", color="black", markersize=4, capsize=2, label=label
    )
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.6 * float((observed + poisson_errors(observed)[1]).max()))
    ax.set_xlabel(LABELS.get(experiment.observable, experiment.observable))
    ax.set_ylabel("events per bin")
    title = title or LABELS.get(experiment.name, experiment.name)
    reconstructed = experiment.status == "reconstructed" and "reconstructed" not in title
    ax.set_title(f"{title} (reconstructed)" if reconstructed else title)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper right", fontsize=8, ncols=2, columnspacing=1.0)
    return SpectrumPlot(ax, stack, data)


def plot_profiles(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ax: Axes | None = None,
    levels: Sequence[tuple[float, str]] = ((ONE_SIGMA, r"1$\sigma$"), (0.90, "90% CL")),
    highest: float = 6.0,
    reference: tuple[float, float, str] | None = None,
) -> ProfilePlot:
    """Profiles of Delta chi2 with their confidence levels (as Fig. 2 of arXiv:2411.11749).

    Args:
        curves: name to (values, Delta chi2).
        xlabel: axis label with unit.
        ax: axes to draw on; new ones if None.
        levels: confidence levels, one parameter, with labels.
        highest: top of the axis.
        reference: value, half width and label of a prediction, drawn as a band.
    """
    if ax is None:
        _, (ax,) = figure()
    if reference is not None:
        value, width, label = reference
        ax.axvspan(value - width, value + width, color="#DDDDDD", lw=0, zorder=0)
        ax.axvline(value, color="#888888", lw=0.8, zorder=0)
        ax.annotate(
            label,
            (value + width, 0.97 * highest),
            (4, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color="#555555",
        )
    styles = {"combined": "-", "xenonnt-2024-s2": "--", "pandax4t-us2": "-."}
    drawn = {}
    for name, (x, y) in curves.items():
        (line,) = ax.plot(x, y, styles.get(name, "-"), color=COLOURS.get(name), label=LABELS.get(name, name))
        drawn[name] = line
    lines = []
    right = max(float(np.max(x)) for x, _ in curves.values())
    left = min(float(np.min(x)) for x, _ in curves.values())
    for cl, label in levels:
        height = chi2_threshold(cl)
        lines.append(ax.axhline(height, color="#666666", lw=0.7, ls=":"))
        ax.annotate(
            f"{label}\n{height:.2f}",
            (1.0, height),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color="#444444",
        )
    ax.set_xlim(left, right)
    ax.set_ylim(0, highest)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(r"$\Delta\chi^2$")
    return ProfilePlot(ax, drawn, lines)
