"""Figures and files of a posterior: marginals with priors, posterior predictive, comparison with the profile."""

import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from jcevns.constants import ONE_SIGMA
from jcevns.files import write_bytes, write_json
from jcevns.fit.interval import interval, profile_curve
from jcevns.likelihood.likelihood import Likelihood
from jcevns.parameters import Parameter
from jcevns.plot import style
from jcevns.plot.corner import plot_corner
from jcevns.statistics.laplace import GridPosterior
from jcevns.statistics.sample import Posterior

__all__ = [
    "plot_comparison",
    "plot_density",
    "plot_marginal",
    "plot_predictive",
    "write_posterior",
]

_FILL = "#9FC5E8"


def _log_scaled(prior: str) -> bool:
    return prior.startswith("log-uniform")


def _label(record: Parameter) -> tuple[str, float]:
    return style.axis_label(record.name, record.unit, record.label)


def plot_density(grid: GridPosterior, name: str, ax: Axes | None = None) -> Axes:
    """Marginal density of a posterior on a grid, its central 68% filled.

    Args:
        grid: from `laplace`.
        name: of the parameter.
        ax: axes to draw on; new ones if None.
    """
    ax, record = style.axes_or_new(ax), grid.parameters[name]
    words, scale = _label(record)
    x, density = grid.axes[record.name], grid.marginal(name)
    log = x[0] > 0 and style.is_log(x)
    shown = density * (x if log else scale)
    inside = (x >= grid.quantile(name, (1 - ONE_SIGMA) / 2)) & (x <= grid.quantile(name, (1 + ONE_SIGMA) / 2))
    ax.fill_between(x[inside] / scale, shown[inside], color=_FILL, lw=0, label="central 68%")
    ax.plot(x / scale, shown, color=style.LINES[0])
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=words, ylabel="density per ln" if log else "density", ylim=(0, 1.2 * float(shown.max())))
    ax.legend(fontsize=8)
    return ax


def plot_marginal(result: Posterior, name: str, ax: Axes | None = None, grid: GridPosterior | None = None) -> Axes:
    """Histogram of a parameter with its prior on top, and the Laplace grid if there is one.

    Args:
        result: from `sample`.
        name: of the parameter.
        ax: axes to draw on; new ones if None.
        grid: from `laplace`.
    """
    ax, record = style.axes_or_new(ax), result.records[name]
    label, scale = _label(record)
    draws, marginal = result.samples(name), result.parameters[record.name]
    log = _log_scaled(marginal.prior)
    low, high = draws.min(), draws.max()
    edges = np.geomspace(low, high, 61) if log else np.linspace(low, high, 61)
    centre = np.sqrt(edges[1:] * edges[:-1]) if log else (edges[1:] + edges[:-1]) / 2
    measure = centre if log else np.full(centre.size, scale)  # density per ln x, or per unit of the axis
    height = np.histogram(draws, edges, density=True)[0] * measure
    ax.stairs(height, edges / scale, fill=True, color=_FILL, label="posterior (NUTS)")
    density = np.exp(result.priors[record.name].log_density(centre)) * measure
    ax.plot(centre / scale, density, color="#888888", ls="--", label=f"prior {marginal.prior}")
    if grid is not None:
        x = grid.axes[record.name]
        ax.plot(x / scale, grid.marginal(name) * (x if log else scale), color="#D55E00", lw=1.2, label="Laplace grid")
    for end, text in zip(marginal.quantiles_68, ("central 68%", None), strict=True):
        ax.axvline(end / scale, color="black", lw=0.8, ls=":", label=text)
    if log:
        ax.set_xscale("log")
    ax.set_xlabel(label)
    ax.set_ylabel("density" if not log else "density per ln")
    ax.set_ylim(0, 1.45 * float(height.max()))
    ax.legend(fontsize=8, loc="upper right")
    return ax


def plot_comparison(result: Posterior, likelihood: Likelihood, name: str, ax: Axes | None = None) -> Axes:
    """Posterior density and profile likelihood exp(-Delta chi2/2) of one parameter, both scaled to one."""
    ax, record = style.axes_or_new(ax), result.records[name]
    label, scale = _label(record)
    draws = result.samples(name)
    edges = np.linspace(draws.min(), draws.max(), 61)
    height, _ = np.histogram(draws, edges)
    ax.stairs(height / height.max(), edges / scale, fill=True, color=_FILL, label="posterior")
    x = np.linspace(edges[0], edges[-1], 80)
    chi2 = profile_curve(likelihood, name, x)
    ax.plot(
        x / scale, np.exp(-(chi2 - np.nanmin(chi2)) / 2), color="#D55E00", label=r"$e^{-\Delta\chi^2/2}$, profiled"
    )
    for end, text in zip(result.parameters[record.name].quantiles_68, ("central 68%", None), strict=True):
        ax.axvline(end / scale, color="#0072B2", lw=0.8, ls=":", label=text)
    profiled = interval(likelihood, name, ONE_SIGMA)
    text = r"$\Delta\chi^2 = 1$"
    for end in (profiled.lower, profiled.upper):
        if end is not None:
            ax.axvline(end / scale, color="#D55E00", lw=0.8, ls=":", label=text)
            text = None
    ax.set_xlabel(label)
    ax.set_ylabel("scaled to one")
    ax.set_ylim(0, 1.45)
    ax.legend(fontsize=8, loc="upper right")
    return ax


def plot_predictive(result: Posterior, first: int, stop: int, ax: Axes | None = None, title: str = "") -> Axes:
    """Counts drawn from the posterior predictive, with the data, for the bins `first` to `stop` of one experiment."""
    ax = style.axes_or_new(ax)
    drawn = np.asarray(result.data.posterior_predictive["counts"])[0][:, first:stop]
    data = np.asarray(result.data.observed_data["counts"])[first:stop]
    if data.size > 24:  # a hundred bins say nothing one by one
        parts = np.array_split(np.argsort(-drawn.mean(axis=0), kind="stable"), 12)
        drawn, data = (np.stack([x[..., p].sum(axis=-1) for p in parts], axis=-1) for x in (drawn, data))
        ax.set_xlabel("groups of bins, by expected counts")
    else:
        ax.set_xlabel("bin")
    edges = np.arange(data.size + 1) + 0.5
    low2, low, middle, high, high2 = np.quantile(drawn, [0.02275, 0.158655, 0.5, 0.841345, 0.97725], axis=0)
    ax.stairs(high2, edges, baseline=low2, fill=True, color=style.BANDS[1], label="95.45%")
    ax.stairs(high, edges, baseline=low, fill=True, color=style.BANDS[0], label="68.27%")
    ax.stairs(middle, edges, color="#2F6F3E", label="median")
    ax.plot(np.arange(data.size) + 1, data, "o", color="black", ms=4, label="data")
    ax.set_ylabel("events")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(0, 1.35 * max(float(high2.max()), float(data.max())))
    ax.set_title(title)
    ax.legend(fontsize=8, ncols=2)
    return ax


def _optional(package: str, what: str) -> Any:
    """A package that not everybody has."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ImportError(f"{what} needs {package}: pip install 'jcevns[bayes]'") from None


def _netcdf(data: Any) -> bytes:
    """The groups of samples as netCDF. In memory: on a full disk HDF5 ends the process."""
    tree, content = data.to_datatree(), io.BytesIO()
    encoding = {f"/{group}": {name: {"zlib": True} for name in tree[group].data_vars} for group in tree.children}
    tree.to_netcdf(content, engine="h5netcdf", encoding=encoding)
    return content.getvalue()


def write_posterior(
    result: Posterior, likelihood: Likelihood, out: Path, grids: Mapping[str, GridPosterior] | None = None
) -> list[Path]:
    """NetCDF of all samples, JSON summary and figures.

    Args:
        result: from `sample`.
        likelihood: the same experiments.
        out: folder, made if missing.
        grids: Laplace posteriors to draw on the marginals, by parameter.
    """
    _optional("h5netcdf", "a netCDF file of samples")
    out.mkdir(parents=True, exist_ok=True)
    paths = [write_bytes(out / "samples.nc", _netcdf(result.data))]
    names = list(result.parameters)
    with style.style():
        fig, axes = style.figure(columns=len(names), width=3.7, height=3.2)
        for ax, name in zip(axes, names, strict=True):
            plot_marginal(result, name, ax, (grids or {}).get(name))
        paths += style.save(fig, out / "marginals")
        fig, axes = style.figure(columns=len(likelihood.experiments), width=4.2, height=3.2)
        for ax, experiment, (first, stop) in zip(axes, likelihood.experiments, likelihood.layout.bins, strict=True):
            plot_predictive(result, first, stop, ax, style.with_status(experiment.name, experiment.status))
        paths += style.save(fig, out / "predictive")
        if len(names) > 1:
            paths += style.save(plot_corner(result), out / "corner")
        elif not _log_scaled(result.parameters[names[0]].prior):
            fig, (ax,) = style.figure(width=4.2, height=3.2)
            plot_comparison(result, likelihood, names[0], ax)
            paths += style.save(fig, out / "profile_comparison")
    return [*paths, write_json(out / "summary.json", result.to_dict())]  # last: it is there if all is
