"""Expected sensitivity and discovery limits as functions of exposure: table and figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns.likelihood.likelihood import Likelihood
from jcevns.plot import style
from jcevns.statistics.discovery_limits import DiscoveryLimits
from jcevns.statistics.projections import Projection, expected_error, expected_limit, expected_significance

__all__ = [
    "plot_discovery_limits",
    "plot_fog_index",
    "plot_projection",
    "project",
    "save_discovery_limits",
    "save_projections",
]

_POISSON = 2.0  # index of a signal hidden by fluctuations of the background: above it is the neutrino fog


def project(
    likelihood: Likelihood,
    name: str,
    exposure: float,
    toys: int,
    seed: int = 1,
    store: Path | None = None,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
) -> list[dict[str, Any]]:
    """What is expected of a parameter at one exposure if all parameters have their defaults.

    A limit where there is no signal by default, the best fit otherwise, and its significance where there is a value
    without signal. What is infinite is None.

    Args:
        likelihood: the scaled experiment, and the theory.
        name: of the parameter.
        exposure: tonne-year, for the rows.
        toys: number of toys.
        seed: of the toys.
        store: folder to resume from.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
    """
    record = likelihood.parameters[name]
    settings: dict[str, Any] = {"toys": toys, "seed": seed, "at": at} | ({"profiled": profiled} if profiled else {})
    found: list[Projection] = []
    if record.null == record.default:
        found.append(expected_limit(likelihood, name, **settings))
    else:
        settings["store"] = store
        if record.null is not None:
            found.append(expected_significance(likelihood, name, record.default, **settings))
        found.append(expected_error(likelihood, name, record.default, **settings))
    return [{"exposure": float(exposure)} | p.to_dict() for p in found]


def plot_projection(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Median, one and two sigma bands of one quantity against exposure.

    Args:
        rows: from `project`, of one quantity.
        ax: axes to draw on; new ones if None.
    """
    ax = style.axes_or_new(ax)
    rows = sorted(rows, key=lambda r: r["exposure"])
    x = np.array([r["exposure"] for r in rows])
    bands = np.array([r["bands"] for r in rows], float).T
    quantity = rows[0]["quantity"]
    label, scale = style.axis_label(quantity, rows[0]["unit"])
    one, two = style.BANDS
    ax.fill_between(x, bands[0] / scale, bands[4] / scale, color=two, lw=0, label=r"$\pm2\sigma$")
    ax.fill_between(x, bands[1] / scale, bands[3] / scale, color=one, lw=0, label=r"$\pm1\sigma$")
    ax.plot(x, bands[2] / scale, color="black", label="median of toys")
    if quantity.startswith("best fit"):
        ax.axhline(rows[0]["truth"] / scale, color="#888888", lw=0.8)
    else:
        ax.plot(x, np.array([r["asimov"] for r in rows], float) / scale, color="black", ls=":", label="Asimov")
    ax.set_xscale("log")
    if "limit" in quantity:
        ax.set_yscale("log")
    if "significance" in quantity:
        ax.axhline(5, color="#888888", lw=0.8)
        ax.set_ylim(bottom=0)
    ax.set_xlim(x[0], x[-1])
    ax.set_xlabel("exposure [t y]")
    ax.set_ylabel(label)
    return ax


def save_projections(rows: Sequence[Mapping[str, Any]], path: Path, name: str) -> list[Path]:
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


def plot_discovery_limits(found: DiscoveryLimits, ax: Axes | None = None) -> Axes:
    """Discovery limit against exposure, with the point at which the neutrino fog begins, n = 2.

    Args:
        found: from `discovery_limits`.
        ax: axes to draw on; new ones if None.
    """
    ax = style.axes_or_new(ax)
    label, scale = style.axis_label(f"{found.name}, {found.significance:g}$\\sigma$ discovery limit", found.unit)
    ax.plot(found.exposures, np.array(found.limits) / scale, color=style.LINES[0], label="discovery limit")
    edge = found.where(_POISSON)
    if edge is not None:
        ax.plot(edge[0], edge[1] / scale, "o", color=style.LINES[1], label="$n = 2$")
    ax.set(xscale="log", yscale="log", xlabel="exposure [t y]", ylabel=label)
    ax.legend()
    return ax


def plot_fog_index(found: DiscoveryLimits, ax: Axes | None = None) -> Axes:
    """Index n = -(d ln limit / d ln exposure)^-1 against exposure, with n = 2.

    Args:
        found: from `discovery_limits`.
        ax: axes to draw on; new ones if None.
    """
    ax = style.axes_or_new(ax)
    ax.plot(found.exposures, found.indices, color=style.LINES[0])
    ax.axhline(_POISSON, color="#888888", lw=0.8, ls="--")
    ax.set(xscale="log", xlabel="exposure [t y]", ylabel="index $n$")
    known = [n for n in found.indices if np.isfinite(n)]
    ax.set_ylim(0, 1.15 * max([*known, 2 * _POISSON]))
    return ax


def save_discovery_limits(found: DiscoveryLimits, path: Path) -> list[Path]:
    """Limits and index side by side.

    Args:
        found: from `discovery_limits`, of several exposures.
        path: without suffix.
    """
    if len(found.exposures) < 2:
        raise ValueError("a figure of discovery limits needs at least two exposures")
    with style.style():
        fig, (left, right) = style.figure(columns=2, width=3.7, height=3.3)
        plot_discovery_limits(found, left)
        plot_fog_index(found, right)
        for ax in (left, right):
            ax.set_title(f"{found.experiment}, scaled", fontsize=9)
        return list(style.save(fig, path))
