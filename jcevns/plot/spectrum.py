"""Spectra: expected counts, stacked, with the data on top."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container
from scipy.special import gammaincinv

from jcevns.constants import ONE_SIGMA
from jcevns.experiments.axes import along, find_axis
from jcevns.experiments.experiment import SIGNAL, Experiment
from jcevns.fit.rounding import percent
from jcevns.likelihood.likelihood import Likelihood
from jcevns.plot.style import axes_or_new, plain, with_status
from jcevns.statistics.band import Band

__all__ = ["COMPONENTS", "SpectrumPlot", "plot_band", "plot_spectrum", "poisson_errors"]

COMPONENTS = {
    SIGNAL: ("#56B4E9", "signal"),
    "cathode": ("#009E73", "cathode"),
    "microdischarge": ("#F0E442", "micro-discharge"),
    "accidental": ("#CC79A7", "accidental coincidence"),
    "electronic": ("#0072B2", "electron recoil"),
    "neutron": ("#999999", "neutron"),
}
"""Colour and words for components of the built-in experiments."""

_OTHERS = ("#E69F00", "#D55E00", "#BBBBBB", "#666666")
_AXES = {"N_e [electrons]": r"$N_{e^-}$"}


@dataclasses.dataclass(frozen=True)
class SpectrumPlot:
    """Artists of a counts plot.

    Attributes:
        ax: the axes.
        stack: components, the total last.
        data: points with error bars.
        band: around the total; None without one.
    """

    ax: Axes
    stack: list[Any]
    data: Container
    band: Any = None


def poisson_errors(counts: np.ndarray) -> np.ndarray:
    """Central 68.27% Poisson interval (Garwood) around observed counts, as (down, up) distances."""
    counts = np.asarray(counts, float)
    tail = (1 - ONE_SIGMA) / 2
    lower = np.where(counts > 0, gammaincinv(np.maximum(counts, 0.5), tail), 0.0)
    upper = gammaincinv(counts + 1, 1 - tail)
    return np.stack([counts - lower, upper - counts])


def plot_spectrum(
    experiment: Experiment,
    components: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    title: str = "",
    signal: str = "signal",
    axis: str = "",
) -> SpectrumPlot:
    """Stacked expected counts with data on top (as Fig. 1 of arXiv:2411.11749).

    Args:
        experiment: gives bins, data and labels.
        components: counts per bin of each component; the signal is drawn last, on top.
        ax: axes to draw on; new ones if None.
        title: above the panel.
        signal: words for the signal.
        axis: label of one of the experiment's axes, or how it begins: counts are summed over the others.
    """
    observed = np.asarray(experiment.observed)
    if axis:
        chosen = find_axis(experiment.axes, axis)
        components = {name: along(experiment.axes, axis, np.asarray(counts)) for name, counts in components.items()}
        observed = along(experiment.axes, axis, observed)
        return _draw(experiment, components, observed, chosen.edges, chosen.label, ax, title, signal)
    edges = experiment.bin_edges or np.arange(observed.size + 1)
    return _draw(experiment, components, observed, edges, experiment.observable, ax, title, signal)


def _draw(
    experiment: Experiment,
    components: Mapping[str, np.ndarray],
    observed: np.ndarray,
    bin_edges: Sequence[float] | np.ndarray,
    observable: str,
    ax: Axes | None,
    title: str,
    signal: str = "signal",
) -> SpectrumPlot:
    ax, edges, bins = axes_or_new(ax), np.asarray(bin_edges, float), observed.size
    order = [name for name in components if name != SIGNAL]
    order.sort(key=lambda name: float(np.sum(components[name])))
    stack, base, fresh = [], np.zeros(bins), itertools.cycle(_OTHERS)
    for name in [*order, SIGNAL]:
        top = base + np.asarray(components[name])
        colour, words = COMPONENTS[name] if name in COMPONENTS else (next(fresh), name)
        look = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.4, "alpha": 0.85}
        words = signal if name == SIGNAL else words
        patch = ax.stairs(top, edges, baseline=base, fill=True, label=words, **look)
        stack.append(patch)
        base = top
    stack.append(ax.stairs(base, edges, color="black", linewidth=1.1, label="total, fitted"))
    centre = (edges[1:] + edges[:-1]) / 2
    label = "data" if experiment.status != "reconstructed" else "data (reconstructed bins)"
    label = label if experiment.measured else "expectation, no data"
    data = ax.errorbar(
        centre, observed, yerr=poisson_errors(observed), fmt="o", color="black", markersize=4, capsize=2, label=label
    )
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.6 * float((observed + poisson_errors(observed)[1]).max()))
    ax.set_xlabel(_AXES.get(observable, plain(observable)))
    ax.set_ylabel("events per bin")
    title = title or experiment.name
    ax.set_title(with_status(title, experiment.status))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper right", fontsize=8, ncols=2, columnspacing=1.0)
    return SpectrumPlot(ax, stack, data)


def plot_band(
    likelihood: Likelihood, found: Band, name: str | None = None, ax: Axes | None = None, title: str = ""
) -> SpectrumPlot:
    """Stacked expected counts with data on top, and the band of a fit or a posterior around the total.

    Args:
        likelihood: the one of the band; gives bins and labels.
        found: from `jcevns.band`.
        name: of the experiment; the first if absent.
        ax: axes to draw on; new ones if None.
        title: above the panel.

    Raises:
        ValueError: an experiment that is not in the band.
    """
    chosen = likelihood.names[0] if name is None else name
    if chosen not in found.expected:
        raise ValueError(f"the band has no experiment {chosen!r}: {', '.join(found.expected)}")
    experiment = likelihood.experiments[likelihood.names.index(chosen)]
    edges, low, high = found.edges[chosen], np.maximum(found.lower[chosen], 0.0), found.upper[chosen]
    label = found.axes.get(chosen, experiment.observable)
    drawn = _draw(experiment, found.components[chosen], found.observed[chosen], edges, label, ax, title)
    look = {"facecolor": "none", "edgecolor": "#444444", "hatch": "//////", "linewidth": 0.0}
    words = f"{percent(found.cl)} band"
    patch = drawn.ax.stairs(high, edges, baseline=low, fill=True, label=words, zorder=2.5, **look)
    drawn.ax.set_ylim(0, max(drawn.ax.get_ylim()[1], 1.3 * float(np.max(high))))
    handles, labels = drawn.ax.get_legend_handles_labels()
    drawn.ax.legend(handles[::-1], labels[::-1], loc="upper right", fontsize=8, ncols=2, columnspacing=1.0)
    return dataclasses.replace(drawn, band=patch)
