"""The report of a fit: one HTML page that needs nothing else."""

import datetime
import io
import math
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from jcevns.files import write_text
from jcevns.fit.result import Fit
from jcevns.fit.rounding import decimals, number, segments_text, unit_scale, with_errors
from jcevns.likelihood.likelihood import Likelihood
from jcevns.plot.impacts import plot_impacts
from jcevns.plot.page import picture, render
from jcevns.plot.profiles import plot_fit_correlation, plot_profile, plot_pulls
from jcevns.plot.spectrum import plot_band
from jcevns.plot.style import figure, style
from jcevns.statistics.band import band
from jcevns.statistics.impacts import Impacts, impacts

__all__ = ["report_page", "write_report"]

_PACKAGES = ("jax", "jaxlib", "equinox", "numpy", "scipy", "matplotlib")
_MOST = 25  # parameters up to which all are in the matrix


def report_page(
    likelihood: Likelihood,
    result: Fit,
    profiled: Sequence[str] = (),
    command: str = "",
    progress: Callable[[str], Any] = lambda what: None,
) -> str:
    """The report of a fit as HTML: pictures embedded, nothing fetched, readable on a telephone.

    Result and intervals, pulls, correlations, impacts on every fitted parameter, spectra with their band, status of
    the data, versions, and how to repeat it. A part that cannot be made says why.

    Args:
        likelihood: the one that was fitted.
        result: from `fit`.
        profiled: parameters without constraint that were profiled.
        command: that repeats it.
        progress: called with the name of each part before it is made.

    Example:
        >>> import jcevns as jc
        >>> from jcevns.plot.report import report_page
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> page = report_page(likelihood, jc.fit(likelihood, "flux"))
        >>> page.startswith("<!doctype html>"), "http://" in page
        (True, False)
    """
    with style():
        content = _content(likelihood, result, profiled, progress)
    return render("jcevns.plot", "fit.html.j2", content | {"command": command})


def write_report(page: str, folder: Path) -> Path:
    """Write a page as `index.html` of a folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_text(folder / "index.html", page)


def _content(
    likelihood: Likelihood, result: Fit, profiled: Sequence[str], progress: Callable[[str], Any]
) -> dict[str, Any]:
    full = result.full_covariance
    progress("profiles")
    many = len(full.names) > _MOST
    matrix = (len(result.names) if many else len(full.names)) > 1
    found: dict[str, Any] = {
        "title": f"Fit of {', '.join(result.names)} to {' + '.join(result.experiments)}",
        "fit": result,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": _versions(),
        "result": result.summary.splitlines(),
        "intervals_head": ("parameter", "value", "Hesse", "68%", "90%", "unit"),
        "intervals": [_interval_row(result, name) for name in result.names],
        "settled": _settled(likelihood, result),
        "profiles": _profiles(likelihood, result, profiled),
        "pulls": [_pull_row(result, name) for name in result.pulls],
        "pulls_figures": [_picture(plot_pulls(result).axes, "pulls and their errors")] if result.pulls else [],
        "correlation": [],
    }
    if matrix:
        words = "correlation of the fitted parameters" if many else "correlation of everything that moves"
        found["correlation"] = [_picture(plot_fit_correlation(result, nuisances=not many).axes, words)]
    progress("impacts")
    found["impacts"], found["impacts_missing"] = _impacts(likelihood, result, profiled)
    progress("spectra")
    found["spectra"], found["spectra_missing"] = _spectra(likelihood, result)
    return found


def _picture(ax: Axes, words: str) -> dict[str, str]:
    content = io.BytesIO()
    ax.get_figure(root=True).savefig(  # pyright: ignore[reportOptionalMemberAccess]
        content, format="png", dpi=130, metadata={"Software": None}
    )
    return picture(content.getvalue(), words)


def _versions() -> dict[str, str]:
    known = {"jcevns": metadata.version("jcevns"), "Python": platform.python_version()}
    return known | {name: metadata.version(name) for name in _PACKAGES}


def _interval_row(result: Fit, name: str) -> tuple[str, ...]:
    scale, unit = unit_scale(result.units[name])
    down, up = (None if e is None else e / scale for e in result.errors.get(name, (None, None)))
    value = (
        with_errors(result.values[name] / scale, up, down) if result.errors else f"{result.values[name] / scale:.6g}"
    )
    cells = [segments_text(one.segments, scale) for one in result.intervals.get(name, ())] or ["", ""]
    mark = " (at bound)" if name in result.at_bound else ""
    return (name + mark, value, f"{result.hesse[name] / scale:.3g}", *cells, unit.strip())


def _settled(likelihood: Likelihood, result: Fit) -> list[tuple[str, ...]]:
    rows = [(n, "fixed", v) for n, v in result.fixed.items()] + [
        (n, "profiled", v) for n, v in result.profiled.items()
    ]
    return [(n, kind, f"{v:.6g}", likelihood.parameters[n].unit) for n, kind, v in rows]


def _pull_row(result: Fit, name: str) -> tuple[str, ...]:
    full, error = result.full_covariance, result.pull_errors[name]
    text = f"{error:.3f}" if math.isfinite(error) else "held"
    return (name, f"{result.pulls[name]:+.3f}", text, f"{full.values[name]:.6g}", full.units[name])


def _constrained(result: Fit) -> list[str]:
    """Fitted parameters that kept their constraint."""
    return [n for n in result.names if n in result.pulls]


def _profiles(likelihood: Likelihood, result: Fit, profiled: Sequence[str]) -> list[dict[str, str]]:
    """Delta chi2 along the fitted parameter, if it is one alone and had its profile searched."""
    if len(result.names) != 1 or not result.intervals:
        return []
    drawn = plot_profile(
        likelihood,
        result.names[0],
        ax=figure(width=5.0, height=3.4)[1][0],
        at=result.fixed,
        profiled=profiled,
        constrained=_constrained(result),
    )
    return [_picture(drawn.ax, f"profile of {result.names[0]}")]


def _impacts(likelihood: Likelihood, result: Fit, profiled: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    found, missing, kept = [], [], _constrained(result)
    for name in result.names:
        others = [n for n in result.names if n != name and n not in kept]
        try:
            one = impacts(likelihood, name, result.fixed, [*profiled, *others], [name] if name in kept else [])
        except (ValueError, RuntimeError) as error:
            missing.append(f"{name}: {error}")
            continue
        label = likelihood.parameters[name].label
        picture = _picture(plot_impacts(one, label=label).ax, f"impacts on {name}, the largest first")
        found.append({"name": name, "figures": [picture], **_impact_table(one)})
    return found, missing


def _impact_table(found: Impacts) -> dict[str, Any]:
    scale, unit = unit_scale(found.unit)
    sizes = [one.size / scale for one in found.ranked if math.isfinite(one.size)]
    places = decimals(max(sizes)) + 1 if sizes and max(sizes) > 0 else 3

    def pair(*values: float) -> str:
        return ", ".join(number(v / scale, places) if math.isfinite(v) else "none" for v in values)

    rows = [
        (
            one.nuisance,
            f"{one.pull:+.2f}",
            f"{one.pull_up:.2f}",
            pair(one.postfit_down, one.postfit_up),
            pair(one.prefit_down, one.prefit_up),
        )
        for one in found.ranked
    ]
    notes = [f"{one.nuisance}, not valid: {p}" for one in found.ranked for p in one.problems]
    notes += [f"{one.nuisance} {one.note}" for one in found.ranked if one.note]
    head = ("nuisance", "pull", "error", f"post-fit shift{unit and f' [{unit.strip()}]'}", "pre-fit shift")
    return {"head": head, "rows": rows, "notes": notes}


def _spectra(likelihood: Likelihood, result: Fit) -> tuple[list[dict[str, str]], list[str]]:
    labels = {one.name: [axis.label for axis in one.axes] or [""] for one in likelihood.experiments}
    try:
        found = {label: band(likelihood, result, along=label) for own in labels.values() for label in own}
    except ValueError as error:
        return [], [str(error)]
    pictures = []
    for name, label in ((name, label) for name, own in labels.items() for label in own):
        drawn = plot_band(likelihood, found[label], name, figure(width=5.4, height=3.8)[1][0])
        words = f"{name}{label and f', {label}'}: expected counts at the best fit with their 68% band, and the data"
        pictures.append(_picture(drawn.ax, words))
    return pictures, []
