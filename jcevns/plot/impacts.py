"""Impacts, ranked, with pulls beside them."""

import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container

from jcevns.fit.rounding import unit_scale
from jcevns.plot.style import LINES, axis_label, figure, plain
from jcevns.statistics.impacts import Impacts

__all__ = ["ImpactsPlot", "plot_impacts"]


@dataclasses.dataclass(frozen=True)
class ImpactsPlot:
    """Artists of an impacts plot.

    Attributes:
        ax: axis of the shifts, below.
        pulls_ax: axis of the pulls, above, of the same panel.
        postfit: filled bars, nuisances held below and above their best fit.
        prefit: the same in outline, before the fit.
        pulls: points with error bars.
    """

    ax: Axes
    pulls_ax: Axes
    postfit: tuple[Container, Container]
    prefit: tuple[Container, Container]
    pulls: Any


def plot_impacts(found: Impacts, ax: Axes | None = None, most: int = 20, label: str = "") -> ImpactsPlot:
    """Shifts of the best fit as bars, the largest on top, pulls as points on an axis above.

    Args:
        found: from `impacts`.
        ax: axes to draw on; new ones, as high as they have to be if None.
        most: nuisances that are drawn.
        label: of the parameter's record, in TeX.

    Raises:
        ValueError: `most` is not positive.
    """
    if most < 1:
        raise ValueError(f"most {most!r} must be 1 or more: nuisances that are drawn")
    alone = ax is None
    if ax is None:
        ax = figure(width=5.6, height=2.3 + 0.29 * min(most, len(found.ranked)))[1][0]
    shown = found.ranked[:most]
    scale, _ = unit_scale(found.unit)
    place = np.arange(len(shown))

    def bars(attribute: str, **look: Any) -> Container:
        widths = np.array([getattr(one, attribute) for one in shown]) / scale
        return ax.barh(place, np.where(np.isfinite(widths), widths, 0.0), **look)

    pre, post = {"height": 0.8, "fill": False, "lw": 0.9}, {"height": 0.8, "alpha": 0.75}
    postfit = (
        bars("postfit_down", color=LINES[5], label="post-fit, held below", **post),
        bars("postfit_up", color=LINES[4], label="post-fit, held above", **post),
    )
    prefit = (
        bars("prefit_down", edgecolor=LINES[0], label="pre-fit, held below", **pre),
        bars("prefit_up", edgecolor=LINES[1], label="pre-fit, held above", **pre),
    )
    over = ax.twiny()
    for edge in (-1, 0, 1):
        over.axvline(edge, color="#999999", lw=0.7, ls=":" if edge else "-")
    pull = np.array([one.pull for one in shown])
    width = np.array([[one.pull_down for one in shown], [one.pull_up for one in shown]])
    points = over.errorbar(
        pull,
        place,
        xerr=np.where(np.isfinite(width), width, 0.0),
        fmt="o",
        color="black",
        markersize=4,
        capsize=2,
        lw=1.1,
        label="pull and its error",
    )
    over.patch.set_visible(False)
    span = max((abs(p) + w for p, w in zip(pull, np.nanmax(np.nan_to_num(width), axis=0), strict=True)), default=1.0)
    over.set_xlim(-1.2 * max(span, 1.5), 1.2 * max(span, 1.5))
    sizes = [v / scale for one in shown for v in (one.postfit_down, one.postfit_up, one.prefit_down, one.prefit_up)]
    largest = max((abs(v) for v in sizes if math.isfinite(v)), default=1.0) or 1.0
    ax.set_xlim(-1.2 * largest, 1.2 * largest)
    ax.set_yticks(place, [plain(one.nuisance) + ("" if one.valid else " (NOT VALID)") for one in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    for axes in (ax, over):
        axes.tick_params(axis="y", which="both", length=0)
    ax.tick_params(axis="x", top=False, which="both")
    over.tick_params(axis="x", bottom=False, top=True, which="both")
    ax.set_xlabel(f"shift of {axis_label(found.name, found.unit, label)[0]}")
    over.set_xlabel("pull [standard deviations]")
    handles = [*postfit, *prefit, points]
    words = [str(h.get_label()) for h in handles]
    if alone:
        ax.figure.legend(handles, words, loc="outside lower center", ncols=2, fontsize=8)  # pyright: ignore
    else:
        ax.legend(handles, words, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8)
    return ImpactsPlot(ax, over, postfit, prefit, points)
