"""Commands of the fits: fit, contour."""

import dataclasses
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import ARGUMENTS, cli, echo_status, emit_json, say, start_jax
from jcevns.cli.building import Asked, check_units, short_form, with_spectrum
from jcevns.cli.options import (
    csv_option,
    json_option,
    model_options,
    names,
    numbers,
    out_option,
    parameter_names,
    refuse,
    refused,
    window_option,
)

MINIMISERS = "{newton,lbfgs,adam,bfgs,gradient-descent}"

LEVELS = ("68", "90")
"""Confidence levels as JSON keys call them, in the order of `jcevns.fit.result.LEVELS`."""

FLUX_PULL = "the flux is a parameter: --constrained flux keeps its constraint in a fit, --at flux=5.46e6 fixes it"


@cli.command()
@click.argument(
    "parameters",
    metavar="NAME[,NAME...]",
    callback=names,
    shell_complete=parameter_names("strength", "magnetic-moment"),
)
@model_options("at", "profiled", "constrained")
@click.option("--minimiser", default="newton", show_default=True, metavar=MINIMISERS, help="All are judged alike.")
@click.option(
    "--no-errors", is_flag=True, help="Covariance alone: no profiles, so no asymmetric errors and intervals."
)
@click.option(
    "--expected",
    is_flag=True,
    help="Significance expected with all parameters at their defaults, beside the observed.",
)
@csv_option
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for index.html: result, pulls, impacts, spectra, on one page.",
)
@json_option
@refused("--flux-pull", FLUX_PULL, is_flag=True)
@refused("--no-flux-pull", FLUX_PULL, is_flag=True)
@click.pass_context
def fit(
    context: click.Context,
    parameters: list[str],
    asked: Asked,
    minimiser: str,
    no_errors: bool,
    expected: bool,
    spectrum: Path | None,
    b8: str,
    report: Path | None,
    as_json: bool,
) -> None:
    """Fit any number of parameters: of the theory, the fluxes, the experiments.

    Prints best fit, errors (Delta chi2 = 1), 68% and 90% intervals with all their parts, correlations, pulls and
    what is wrong, if anything is. Constraints of the fitted parameters are off: a flux is measured, not assumed.
    The name of a theory stands for the size of its signal: `fit magnetic-moment` is `fit moment --theory
    magnetic-moment`. For `strength` give --spectrum FILE.csv with the columns recoil_keV and
    events_per_tonne_year_keV, full efficiency, as `jcevns spectrum --csv` writes it; it is short for --theory
    standard-model+spectrum:FILE.csv, with --b8 none for spectrum:FILE.csv.

    \b
    jcevns fit flux --experiments xenonnt-2024-s2
    jcevns fit sin2w,flux --constrained flux --experiments xenonnt-2024-s2,pandax4t-us2
    jcevns fit coupling --theory vector --at mass=10 --experiments xenonnt-2024-s2
    jcevns fit flux --experiments xenonnt-2024-s2 --report report     (writes report/index.html)
    jcevns fit eps_ee,eps_mm --theory mine.py:NSI --profile sin2w --experiments coherent-csi-2021     (runs mine.py)

    \b
    JSON of one parameter: parameter, unit, experiments, theory, best_fit, interval_68, interval_90 ([lower, upper]
    of the part with the best fit; null = open, or not asked for), segments_68, segments_90 (all parts), chi2_min,
    significance and p_value (null if it has no value without signal), expected_significance (with --expected: median
    if all parameters have their defaults; null if there is no signal then), valid, edm, problems, pulls (in sigma),
    flux_pull (whether a flux keeps its constraint), profiled, fixed, data_status, note.
    Of several: best_fit, errors ([down, up]), correlation, covariance, segments_68, segments_90, units by name;
    chi2_min, edm, valid, problems, at_bound, pulls, profiled, fixed, experiments, theory, data_status, note.
    """  # noqa: D301
    if spectrum is None:
        refuse(context, {"b8": "it belongs to --spectrum"})
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is known before the fit
    start_jax()
    from jcevns.fit.fit import fit as run

    theory = asked.theory
    if len(parameters) == 1:
        theory, name = short_form(parameters[0], theory)
        parameters = [name]
    asked = dataclasses.replace(asked, theory=with_spectrum(theory, spectrum, b8))
    likelihood = asked.likelihood()
    free = asked.names(likelihood, parameters)
    result = run(likelihood, free, asked.at, asked.profiled, asked.constrained, minimiser, errors=not no_errors)
    expectation = _expected_significance(likelihood, asked, free) if expected else None
    if report is not None:
        from jcevns.plot.report import report_page, write_report

        command = shlex.join([*context.command_path.split(), *context.meta[ARGUMENTS]])
        page = report_page(likelihood, result, asked.profiled, command, lambda part: say(f"report: {part}"))
        say(f"written: {write_report(page, report)}")
    if as_json:
        emit_json(_json(result, likelihood, expectation))
    else:
        click.echo(result.table())
        if expectation is not None:
            click.echo(
                f"  expected significance {expectation:.2f} sigma with all parameters at their defaults (Asimov)"
            )
        for line in _levels(result, likelihood):
            click.echo(line)
    if not result.valid:
        why = "; ".join(result.problems) or f"EDM {result.edm:.1e}"
        raise RuntimeError(f"the fit is not valid ({why}): do not use the numbers above")


def _expected_significance(likelihood: Any, asked: Asked, free: Sequence[str]) -> float | None:
    """Median significance of what is there by default, of a single parameter that is measured."""
    record = likelihood.parameters[free[0]]
    if len(free) > 1 or record.null is None or record.null == record.default or record.name in asked.constrained:
        return None
    import numpy as np

    from jcevns.statistics.hypothesis import hypothesis
    from jcevns.statistics.projections import asimov_significance

    here = hypothesis(likelihood, record.name, asked.at, asked.profiled)
    return float(asimov_significance(here, np.array([record.default]))[0])


def _levels(result: Any, likelihood: Any) -> list[str]:
    """Threshold of each interval, and what an open end means."""
    from jcevns.fit.rounding import percent

    lines = []
    for name, intervals in result.intervals.items():
        record = likelihood.parameters[name]
        for one in intervals:
            bounds = (record.lower, record.upper)
            ends = [
                f"{side} end open ({'bound reached' if math.isfinite(bound) else 'not found'})"
                for side, bound, end in zip(("lower", "upper"), bounds, _outer(one.segments), strict=True)
                if end is None
            ]
            lines.append("; ".join([f"  {name}, {percent(one.cl)}: Delta chi2 = {one.threshold:.3f}", *ends]))
    return lines


def _outer(segments: Sequence[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    return (segments[0][0], segments[-1][1]) if segments else (math.nan, math.nan)


def _json(result: Any, likelihood: Any, expected: float | None) -> dict[str, Any]:
    """A fit as JSON: numbers by name, but for a single parameter."""
    shared = {
        "experiments": list(result.experiments),
        "theory": result.theory,
        "chi2_min": result.chi2_min,
        "edm": result.edm,
        "valid": result.valid,
        "problems": list(result.problems),
        "at_bound": list(result.at_bound),
        "pulls": result.pulls,
        "profiled": result.profiled,
        "fixed": result.fixed,
        "data_status": result.data_status,
        "note": "; ".join(result.notes),
    }
    if len(result.names) == 1:
        return _one(result, likelihood, expected) | shared

    def by_name(matrix: Any) -> dict[str, dict[str, float]]:
        rows = zip(result.names, matrix.tolist(), strict=True)
        return {name: dict(zip(result.names, row, strict=True)) for name, row in rows}

    own = {
        "parameters": list(result.names),
        "units": result.units,
        "best_fit": result.values,
        "errors": result.errors,
        "correlation": by_name(result.correlation),
        "covariance": by_name(result.covariance),
    }
    for i, level in enumerate(LEVELS):
        own[f"segments_{level}"] = {name: found[i].segments for name, found in result.intervals.items()}
    return own | shared


def _one(result: Any, likelihood: Any, expected: float | None) -> dict[str, Any]:
    (name,) = result.names
    found = result.intervals.get(name, ())
    acting = {n for n, factor in likelihood.normalisations.items() if factor.flux and any(factor.powers.values())}
    own = {"parameter": name, "unit": result.units[name], "best_fit": result.values[name]}
    for i, level in enumerate(LEVELS):
        own[f"interval_{level}"] = found[i].main if found else None
        own[f"segments_{level}"] = found[i].segments if found else None
    own |= {"significance": result.significance, "p_value": result.p_value, "expected_significance": expected}
    return own | {"flux_pull": bool(acting & set(result.pulls))}


@cli.command()
@click.argument("parameters", metavar="NAME NAME", nargs=-1, required=True, shell_complete=parameter_names())
@model_options("at", "profiled", "constrained")
@click.option("--cl", default="0.683,0.9", show_default=True, callback=numbers, help="Confidence levels.")
@click.option("--dof", default=2, show_default=True, help="Parameters of interest, for the thresholds.")
@window_option
@out_option("Folder for contour.png, .pdf and .csv, and hepdata, a submission.", metavar="DIR")
@json_option
@click.pass_context
def contour(
    context: click.Context,
    parameters: tuple[str, ...],
    asked: Asked,
    cl: list[float],
    dof: int,
    window: dict[str, tuple[float, float]],
    out: Path | None,
    as_json: bool,
) -> None:
    """Confidence regions of two parameters: closed lines, islands, and lines that are open at the border.

    Delta chi2 is 2.30 and 4.61 for 68.3% and 90% of two parameters, 1.00 and 2.71 with --dof 1. A line that runs into
    a bound, or into the end of the window, is open and says so.

    \b
    jcevns contour sin2w flux --constrained flux --experiments xenonnt-2024-s2 --out contour
    jcevns contour mass coupling --theory scalar --window mass=1:100 --experiments xenonnt-2024-s2 --out scalar

    \b
    CSV: cl, line, and the two parameters, one row per point; hepdata/submission.yaml has the same in HEPData's
    format, if the contour is valid. JSON: parameters, units, cl, dof, delta_chi2, best_fit,
    chi2_min, lines (by level: [[x, y], ...] each), closed, valid.
    """  # noqa: D301
    names_given = names(context, context.command.params[0], parameters)
    if len(names_given) != 2:
        raise click.UsageError(
            f"a contour has two parameters, got {len(names_given)}: write contour sin2w flux", context
        )
    if out is None and not as_json:
        raise click.UsageError("give --out DIR for the figure and the table, or --json", context)
    start_jax()
    from jcevns.fit.contour import contour as run

    likelihood = asked.likelihood()
    chosen = asked.names(likelihood, names_given)
    check_units(likelihood, {name: ends[1:] for name, ends in window.items()})
    region = run(likelihood, chosen, cl, asked.at, asked.profiled, asked.constrained, dof, window or None)
    if out is not None:
        from jcevns.files import write_text
        from jcevns.plot.exclusion import plot_contour
        from jcevns.plot.style import figure, save, style

        out.mkdir(parents=True, exist_ok=True)
        with style():
            fig, (ax,) = figure(width=4.2, height=3.4)
            plot_contour(region, ax)
            paths = [*save(fig, out / "contour"), write_text(out / "contour.csv", region.to_csv())]
        if region.valid:
            from jcevns.statistics.hepdata import to_hepdata

            paths.append(to_hepdata(region, out / "hepdata")[-1])
        say("written: " + ", ".join(map(str, paths)))
    if as_json:
        emit_json(region.to_dict())
    else:
        click.echo(str(region))
        for name, value, unit in zip(region.names, region.best_fit, region.units, strict=True):
            click.echo(f"  best fit {name} = {value:.5g}{f' {unit}' if unit else ''}")
        click.echo(f"  chi2 min {region.chi2_min:.4f}   valid: {'yes' if region.valid else 'NO'}")
        echo_status(likelihood.experiments)
    if not region.valid:
        raise RuntimeError(f"the contour is not valid ({'; '.join(region.problems)}): do not use it")
