"""Corner plot of a posterior: smooth contours with their probabilities written on them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from jcevns.constants import ONE_SIGMA
from jcevns.fit.rounding import percent
from jcevns.plot import style
from jcevns.statistics.sample import Posterior

__all__ = ["plot_corner", "plot_pair"]

LEVELS = (ONE_SIGMA, 0.90)
"""Probabilities inside the contours."""

_CELLS = 160  # of a grid, along each axis
_BANDWIDTHS = 4.0  # that the grid goes on beyond the samples, where no edge of a prior is nearer
_FILLS = ("#C6DBEF", "#9FC5E8")


def plot_pair(result: Posterior, x: str, y: str, ax: Axes | None = None, levels: Sequence[float] = LEVELS) -> Axes:
    """Regions of highest posterior density of two parameters, by a kernel estimate that stops at the prior's edges.

    Args:
        result: from `sample`.
        x: parameter along the horizontal axis; one with a log-uniform prior as log10.
        y: the other.
        ax: axes to draw on; new ones if None.
        levels: probabilities inside the contours.
    """
    found = sorted(levels)
    if not found or not all(0 < level < 1 for level in found):
        raise ValueError(f"levels {list(levels)} must be probabilities between 0 and 1, as [0.68, 0.9]")
    ax = style.axes_or_new(ax)
    columns = [_column(result, name) for name in (x, y)]
    density, edges = _density([draws for draws, _, _ in columns], [ends for _, ends, _ in columns])
    centres = [(e[1:] + e[:-1]) / 2 for e in edges]
    heights = np.sort(density.ravel())[::-1]
    inside = np.cumsum(heights) / heights.sum()
    cuts = [float(heights[np.searchsorted(inside, level)]) for level in reversed(found)]
    shade = [_FILLS[min(i, 1)] for i in range(len(cuts))]
    ax.contourf(*centres, density.T, levels=[*cuts, float(heights[0]) * 1.001], colors=shade)
    lines = ax.contour(*centres, density.T, levels=cuts, colors=style.LINES[0], linewidths=1.2)
    texts = {cut: percent(level) for cut, level in zip(cuts, reversed(found), strict=True)}
    ax.clabel(lines, fmt=texts, fontsize=7, inline=True, inline_spacing=2)
    ax.set(xlabel=columns[0][2], ylabel=columns[1][2])
    return ax


def plot_corner(result: Posterior) -> Figure:
    """Corner plot of all sampled parameters, with the 68% and 90% regions; those with a logarithmic prior as log10.

    On the diagonal the marginal densities, with the central 68% between dotted lines.

    Args:
        result: from `sample`.
    """
    names = list(result.parameters)
    size = len(names)
    fig, axes = style.figure(columns=size, rows=size, width=2.4, height=2.2)
    for row, below in enumerate(names):
        for column, across in enumerate(names):
            ax = axes[row * size + column]
            if column > row:
                ax.set_axis_off()
                continue
            if column == row:
                _marginal(result, below, ax)
            else:
                plot_pair(result, across, below, ax)
                ax.set_ylim(_range(result, below))
            ax.set_xlim(_range(result, across))
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(4))
            if row < size - 1:
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
            if column > 0:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            if column == row:
                ax.set_yticks([])
                ax.set_ylabel("")
    return fig


def _column(result: Posterior, name: str) -> tuple[np.ndarray, tuple[float, float], str]:
    """Draws as they are shown, edges of the prior likewise, and the label."""
    record = result.records[name]
    label, scale = style.axis_label(record.name, record.unit, record.label)
    prior, draws = result.priors[record.name], result.samples(name)
    if prior.kind == "log-uniform":
        return np.log10(draws), (float(np.log10(prior.low)), float(np.log10(prior.high))), f"log10 {label}"
    return draws / scale, (prior.low / scale, prior.high / scale), label


def _grid(draws: np.ndarray, ends: tuple[float, float], bandwidth: float) -> np.ndarray:
    """Edges of cells around the draws, which end where the prior does."""
    low = max(float(draws.min()) - _BANDWIDTHS * bandwidth, ends[0])
    high = min(float(draws.max()) + _BANDWIDTHS * bandwidth, ends[1])
    return np.linspace(low, high, _CELLS + 1)


def _density(
    columns: Sequence[np.ndarray], ends: Sequence[tuple[float, float]]
) -> tuple[Float[np.ndarray, "..."], list[np.ndarray]]:
    """Kernel estimate on a grid, reflected at its ends: a prior's edge is no slope of the density.

    The bandwidths are Scott's, of what is left of each width if the others are known: a narrow ridge stays narrow.
    """
    table = np.stack(columns)
    covariance = np.atleast_2d(np.cov(table))
    width = 1 / np.sqrt(np.diagonal(np.linalg.inv(covariance)))
    bandwidth = width * table.shape[1] ** (-1 / (len(columns) + 4))
    edges = [_grid(x, e, h) for x, e, h in zip(columns, ends, bandwidth, strict=True)]
    counts, _ = np.histogramdd(table.T, edges)
    cells = [h / (e[1] - e[0]) for h, e in zip(bandwidth, edges, strict=True)]
    return gaussian_filter(counts, cells, mode="reflect"), edges


def _marginal(result: Posterior, name: str, ax: Axes) -> None:
    draws, ends, label = _column(result, name)
    density, (edges,) = _density([draws], [ends])
    centre = (edges[1:] + edges[:-1]) / 2
    ax.fill_between(centre, density, color=_FILLS[0], lw=0)
    ax.plot(centre, density, color=style.LINES[0])
    for end in np.quantile(draws, [(1 - ONE_SIGMA) / 2, (1 + ONE_SIGMA) / 2]):
        ax.axvline(end, color="black", lw=0.8, ls=":")
    ax.set(xlabel=label, ylim=(0, 1.1 * float(density.max())))


def _range(result: Posterior, name: str) -> tuple[float, float]:
    """What is shown of a parameter: nearly all draws."""
    draws, ends, _ = _column(result, name)
    low, high = np.quantile(draws, [0.001, 0.999])
    margin = 0.08 * (high - low)
    return max(float(low - margin), ends[0]), min(float(high + margin), ends[1])
