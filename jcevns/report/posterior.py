"""Figures and files of a posterior: corner plot with priors, posterior predictive, comparison with the profile."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from jcevns.constants import ONE_SIGMA
from jcevns.inference.intervals import interval, profile_curve
from jcevns.inference.laplace import GridPosterior
from jcevns.inference.posterior import Posterior
from jcevns.inference.priors import parse_prior
from jcevns.likelihood.joint import Likelihood
from jcevns.report import style, tables

__all__ = ["LABELS", "plot_comparison", "plot_marginal", "plot_predictive", "posterior_json", "write_posterior"]

LABELS = {
    "flux": (r"$^8$B flux [$10^6$ cm$^{-2}$ s$^{-1}$]", 1e6),
    "sin2w": (r"$\sin^2\theta_W$", 1.0),
    "mass": (r"$m$ [MeV]", 1.0),
    "coupling": ("coupling $g$", 1.0),
}
"""Axis label and unit of each parameter."""


def posterior_json(result: Posterior) -> dict[str, Any]:
    """Marginals and diagnostics as plain numbers; intervals say their kind and probability in their names."""
    out: dict[str, Any] = {}
    for name, marginal in result.parameters.items():
        row = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(marginal).items()}
        out[name] = row
    out |= {"divergences": result.divergences, "seconds": round(result.seconds, 2), "problems": list(result.problems)}
    out |= {"experiments": list(result.experiments), "settings": result.settings}
    out["intervals"] = "hdi: shortest, 68.27% and 90%; quantiles_68: central 68.27%"
    return out


def _log_scaled(prior: str) -> bool:
    return prior.startswith("log-uniform")


def plot_marginal(result: Posterior, name: str, ax: Axes, grid: GridPosterior | None = None) -> None:
    """Histogram of a parameter with its prior on top, and the Laplace grid if there is one."""
    label, scale = LABELS[name]
    draws, marginal = result.samples(name), result.parameters[name]
    log = _log_scaled(marginal.prior)
    low, high = draws.min(), draws.max()
    edges = np.geomspace(low, high, 61) if log else np.linspace(low, high, 61)
    centre = np.sqrt(edges[1:] * edges[:-1]) if log else (edges[1:] + edges[:-1]) / 2
    measure = centre if log else np.full(centre.size, scale)  # density per ln x, or per unit of the axis
    height = np.histogram(draws, edges, density=True)[0] * measure
    ax.stairs(height, edges / scale, fill=True, color="#9FC5E8", label="posterior (NUTS)")
    density = np.exp(parse_prior(marginal.prior).log_density(centre)) * measure
    ax.plot(centre / scale, density, color="#888888", ls="--", label=f"prior {marginal.prior}")
    if grid is not None:
        x = grid.axes[name]
        ax.plot(x / scale, grid.marginal(name) * (x if log else scale), color="#D55E00", lw=1.2, label="Laplace grid")
    for end, text in zip(marginal.quantiles_68, ("central 68%", None), strict=True):
        ax.axvline(end / scale, color="black", lw=0.8, ls=":", label=text)
    if log:
        ax.set_xscale("log")
    ax.set_xlabel(label)
    ax.set_ylabel("density" if not log else "density per ln")
    ax.set_ylim(0, 1.45 * float(height.max()))
    ax.legend(fontsize=8, loc="upper right")


def plot_comparison(result: Posterior, likelihood: Likelihood, name: str, ax: Axes) -> None:
    """Posterior density and profile likelihood exp(-Delta chi2/2) of flux or sin2w, both scaled to one."""
    label, scale = LABELS[name]
    draws = result.samples(name)
    edges = np.linspace(draws.min(), draws.max(), 61)
    height, _ = np.histogram(draws, edges)
    ax.stairs(height / height.max(), edges / scale, fill=True, color="#9FC5E8", label="posterior")
    x = np.linspace(edges[0], edges[-1], 80)
    chi2, _, _ = profile_curve(likelihood, name, x)
    ax.plot(
        x / scale, np.exp(-(chi2 - np.nanmin(chi2)) / 2), color="#D55E00", label=r"$e^{-\Delta\chi^2/2}$, profiled"
    )
    for end, text in zip(result.parameters[name].quantiles_68, ("central 68%", None), strict=True):
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


def plot_predictive(result: Posterior, first: int, stop: int, ax: Axes, title: str = "") -> None:
    """Counts drawn from the posterior predictive, with the data, for the bins of one experiment."""
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
    ax.stairs(high2, edges, baseline=low2, fill=True, color="#FFE08A", label="95.45%")
    ax.stairs(high, edges, baseline=low, fill=True, color="#8FCB9B", label="68.27%")
    ax.stairs(middle, edges, color="#2F6F3E", label="median")
    ax.plot(np.arange(data.size) + 1, data, "o", color="black", ms=4, label="data")
    ax.set_ylabel("events")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(0, 1.35 * max(float(high2.max()), float(data.max())))
    ax.set_title(title)
    ax.legend(fontsize=8, ncols=2)


def _optional(package: str, what: str) -> Any:
    """A package that not everybody has."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ImportError(f"{what} needs {package}: pip install 'jcevns[bayes]'") from None


def _corner(result: Posterior, path: Path) -> list[Path]:
    corner = _optional("corner", "a corner plot")
    names = list(result.parameters)
    logs = [_log_scaled(result.parameters[n].prior) for n in names]
    columns = [
        np.log10(result.samples(n)) if g else result.samples(n) / LABELS[n][1]
        for n, g in zip(names, logs, strict=True)
    ]
    labels = [("log10 " if g else "") + LABELS[n][0] for n, g in zip(names, logs, strict=True)]
    fig = Figure(figsize=(2.6 * len(names), 2.6 * len(names)))
    FigureCanvasAgg(fig)
    corner.corner(np.stack(columns, axis=1), fig=fig, labels=labels, levels=(0.6827, 0.90), plot_datapoints=False)
    return list(style.save(fig, path))


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
    partial = out / ".samples.nc.partial"
    result.data.to_netcdf(str(partial), engine="h5netcdf")
    partial.replace(out / "samples.nc")
    paths = [out / "samples.nc", tables.write_json(out / "summary.json", posterior_json(result))]
    names: Sequence[str] = list(result.parameters)
    with style.style():
        fig, axes = style.figure(columns=len(names), width=3.7, height=3.2)
        for ax, name in zip(axes, names, strict=True):
            plot_marginal(result, name, ax, (grids or {}).get(name))
        paths += style.save(fig, out / "marginals")
        fig, axes = style.figure(columns=len(likelihood.experiments), width=4.2, height=3.2)
        for ax, experiment, (first, stop) in zip(axes, likelihood.experiments, likelihood.layout.bins, strict=True):
            status = " (reconstructed)" if experiment.status == "reconstructed" else ""
            plot_predictive(result, first, stop, ax, f"{experiment.name}{status}")
        paths += style.save(fig, out / "predictive")
        if len(names) > 1:
            paths += _corner(result, out / "corner")
        profiled = [n for n in names if n in ("flux", "sin2w")] if len(names) == 1 else []
        for name in profiled:
            fig, (ax,) = style.figure(width=4.2, height=3.2)
            plot_comparison(result, likelihood, name, ax)
            paths += style.save(fig, out / "profile_comparison")
    return paths
