"""Expected sensitivity as a function of exposure: table and figure."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns.constants import SIN2_THETA_W
from jcevns.inference.hypothesis import Hypothesis
from jcevns.inference.projections import Projection, expected_error, expected_limit, expected_significance
from jcevns.physics.flux import B8_FLUX
from jcevns.report import style

__all__ = ["plot_projection", "project", "save_figure"]

TRUTH = {"flux": B8_FLUX, "sin2w": SIN2_THETA_W}
"""Standard Model values at which toys are drawn."""


def project(
    hypothesis: Hypothesis, exposure: float, toys: int, seed: int = 1, store: Path | None = None
) -> list[dict[str, Any]]:
    """What is expected at one exposure if the Standard Model holds.

    Args:
        hypothesis: of the scaled experiment.
        exposure: tonne-year, for the rows.
        toys: number of toys.
        seed: of the toys.
        store: folder to resume from.
    """
    found: list[Projection] = []
    if hypothesis.name not in TRUTH:
        found.append(expected_limit(hypothesis, toys=toys, seed=seed))
    else:
        truth = TRUTH[hypothesis.name]
        if hypothesis.is_strength:
            found.append(expected_significance(hypothesis, truth, toys, seed, store))
        found.append(expected_error(hypothesis, truth, toys, seed, store))
    return [{"exposure": float(exposure), **dataclasses.asdict(p), "bands": list(p.bands)} for p in found]


def plot_projection(rows: Sequence[Mapping[str, Any]], ax: Axes) -> None:
    """Median, one and two sigma bands of one quantity against exposure."""
    x = np.array([r["exposure"] for r in rows])
    bands = np.array([r["bands"] for r in rows]).T
    quantity = rows[0]["quantity"]
    scale = 1e6 if "flux" in quantity and rows[0]["unit"].startswith("cm") else 1.0
    ax.fill_between(x, bands[0] / scale, bands[4] / scale, color="#FFE08A", lw=0, label=r"$\pm2\sigma$")
    ax.fill_between(x, bands[1] / scale, bands[3] / scale, color="#8FCB9B", lw=0, label=r"$\pm1\sigma$")
    ax.plot(x, bands[2] / scale, color="black", label="median of toys")
    if quantity.startswith("best fit"):
        ax.axhline(rows[0]["truth"] / scale, color="#888888", lw=0.8)
    else:
        ax.plot(x, [r["asimov"] / scale for r in rows], color="black", ls=":", label="Asimov")
    ax.set_xscale("log")
    if "limit" in quantity:
        ax.set_yscale("log")
    if "significance" in quantity:
        ax.axhline(5, color="#888888", lw=0.8)
        ax.set_ylim(bottom=0)
    ax.set_xlim(x[0], x[-1])
    unit = r" [$10^6$ cm$^{-2}$ s$^{-1}$]" if scale > 1 else " [sigma]" if "significance" in quantity else ""
    ax.set_xlabel("exposure [t y]")
    ax.set_ylabel(f"{quantity}{unit}")


def save_figure(rows: Sequence[Mapping[str, Any]], path: Path, name: str) -> list[Path]:
    """One panel per quantity.

    Args:
        rows: from `project`, for several exposures.
        path: without suffix.
        name: of the experiment that was scaled.
    """
    quantities = list(dict.fromkeys(r["quantity"] for r in rows))
    if len({r["exposure"] for r in rows}) < 2:
        raise ValueError("a figure of the sensitivity needs at least two exposures")
    with style.style():
        fig, axes = style.figure(columns=len(quantities), width=3.7, height=3.3)
        for ax, quantity in zip(axes, quantities, strict=True):
            plot_projection([r for r in rows if r["quantity"] == quantity], ax)
            ax.set_title(f"{name}, scaled", fontsize=9)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return list(style.save(fig, path))
