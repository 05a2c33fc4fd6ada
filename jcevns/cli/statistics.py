"""Commands of the statistics: toys, project."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import cli, echo_status, emit_json, say, start_jax
from jcevns.cli.building import Asked, Axis, axis_values, load, with_spectrum
from jcevns.cli.options import (
    bar,
    csv_option,
    given,
    json_option,
    measured,
    model_options,
    out_option,
    parameter_names,
    refuse,
    refused,
    short_axis,
    values,
)
from jcevns.spelling import unknown

TASKS = ("significance", "interval", "coverage", "fit-quality")


def _complete_tasks(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    return [task for task in TASKS if task.startswith(incomplete)]


def _common(command: Callable) -> Callable:
    """Options of both commands."""
    for option in (
        refused("--mass", "write --at mass=10"),
        refused("--interaction", "write --theory NAME --parameter coupling --at mass=10"),
        json_option,
        click.option("--store", type=click.Path(path_type=Path), help="Folder to keep finished toys in; resumes."),
        click.option("--seed", default=1, show_default=True, help="The same seed gives the same toys."),
        click.option(
            "--parameter",
            default=measured,
            show_default="the flux",
            shell_complete=parameter_names(),
            metavar="NAME",
            help="Of interest.",
        ),
        model_options("at", "profiled"),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("task", metavar=f"{{{','.join(TASKS)}}}", shell_complete=_complete_tasks)
@_common
@click.option("--toys", default=1000, show_default=True, help="Toys, per value where there are several.")
@short_axis("--values", "Tested (interval) or true (coverage).")
@click.option("--cl", default=0.90, show_default=True, help="Confidence level of the interval.")
@click.option("--calibrated", is_flag=True, help="coverage: thresholds from as many toys more.")
@click.option("--upper", is_flag=True, help="coverage: of one-sided upper limits.")
@click.pass_context
def toys(
    context: click.Context,
    task: str,
    asked: Asked,
    parameter: str,
    seed: int,
    store: Path | None,
    as_json: bool,
    toys: int,
    values: Axis | None,
    cl: float,
    calibrated: bool,
    upper: bool,
) -> None:
    """Calibrate statistics with toy experiments, auxiliary measurements fluctuated too.

    \b
    significance  p-value of no signal, beside the asymptotic sqrt(Delta chi2)
    interval      Feldman-Cousins interval over --values (nuisances profiled)
    coverage      of the asymptotic 68.27% and 90% intervals at true --values; --calibrated of those by toys
    fit-quality   p-value of the saturated deviance at the best fit

    \b
    jcevns toys significance --experiments xenonnt-2024 --toys 10000
    jcevns toys coverage --values 2e6,4e6,6e6 --experiments xenonnt-2024-s2       a flux in cm^-2 s^-1
    jcevns toys interval --parameter coupling --theory scalar --at mass=10 --values 1e-6:1e-4:20
        --experiments xenonnt-2024-s2
    """  # noqa: D301
    if task not in TASKS:
        raise ValueError(unknown("task", task, TASKS))
    if task != "interval":
        refuse(context, {"cl": "it belongs to toys interval"})
    if task != "coverage":
        refuse(context, dict.fromkeys(("calibrated", "upper"), "it belongs to toys coverage"))
    if task in ("interval", "coverage"):
        if values is None:
            raise ValueError(f"toys {task} needs --values, as in --values 2e6,4e6,6e6")
    else:
        refuse(context, {"values": "it belongs to toys interval and toys coverage"})
    start_jax()
    from jcevns.statistics import calibration

    likelihood = asked.likelihood()
    (name,) = asked.names(likelihood, [parameter])
    axis = None if values is None else values._replace(name=name)
    places = axis_values(asked, likelihood, [axis]).get(name, [])
    settings: dict[str, Any] = {"toys": toys, "seed": seed, "store": store}
    settings |= {"at": asked.at, "profiled": asked.profiled}
    with bar((1 + calibrated) * toys * max(len(places), 1), task) as progress:
        settings["progress"] = progress
        if task == "significance":
            result: Any = calibration.discovery(likelihood, name, **settings)
        elif task == "interval":
            result = calibration.toy_interval(likelihood, name, places, cl, **settings)
        elif task == "coverage":
            result = calibration.coverage(likelihood, name, places, calibrated=calibrated, upper=upper, **settings)
        else:
            result = calibration.fit_quality(likelihood, name, **settings)
    results = result if isinstance(result, list) else [result]
    if as_json:
        rows = [r.to_dict() for r in results]
        emit_json(rows if isinstance(result, list) else rows[0])
        return
    rows = [{key: getattr(r, key) for key in r.to_dict()} for r in results]
    unit = likelihood.parameters[name].unit
    click.echo(f"{task} of {name}{f' [{unit}]' if unit else ''}, {', '.join(likelihood.names)}")
    for row in rows:
        if task == "significance" and row["p_value"] is None:
            row["p_value"] = f"< {_NONE_SEEN / toys:.2g} (90% CL): no toy beyond, more --toys measure it"
            del row["p_error"], row["calibrated"]
        for key, value in row.items():
            click.echo(f"  {key:12} {_text(value)}")
    echo_status(likelihood.experiments)


_NONE_SEEN = 2.303  # mean below which none of it is seen in more than 10%


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        nested = any(isinstance(v, list | tuple) for v in value)
        return "  ".join(f"[{_text(v)}]" for v in value) if nested else ", ".join(map(_text, value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "none"
    if isinstance(value, float):
        return "infinite" if math.isinf(value) else f"{value:.6g}"
    return str(value)


def _short(value: float | None, toys: int = 1) -> str:
    """An expected result; what is None is infinite, unless there is no toy at all."""
    return ("infinite" if toys else "none") if value is None else f"{value:.4g}"


@cli.command()
@_common
@click.option("--exposure", required=True, callback=values, metavar="lo:hi:n|A,...", help="Tonne-year.")
@click.option("--background", default=1.0, show_default=True, help="Factor on the background rates.")
@click.option("--systematics", default=1.0, show_default=True, help="Factor on the widths of the nuisances.")
@click.option("--toys", default=500, show_default=True, help="Toys per exposure, for the bands.")
@click.option("--discovery", is_flag=True, help="Discovery limits and the index of the neutrino fog instead.")
@click.option("--significance", default=3.0, show_default=True, help="Of --discovery: median, in sigma.")
@csv_option
@out_option("Figure without suffix.")
@click.pass_context
def project(
    context: click.Context,
    asked: Asked,
    parameter: str,
    seed: int,
    store: Path | None,
    as_json: bool,
    exposure: list[float],
    background: float,
    systematics: float,
    toys: int,
    discovery: bool,
    significance: float,
    spectrum: Path | None,
    b8: str,
    out: Path | None,
) -> None:
    """Expected sensitivity of an experiment scaled to other exposures, all parameters at their defaults.

    A 90% CL upper limit of a parameter that is zero without signal by default (a coupling); else the best fit, and
    its significance where there is a value without signal (a flux). Median and +-1, +-2 sigma from toys; Asimov
    beside them. With --spectrum FILE.csv (see fit) the parameter is the strength of a signal of your own.

    --discovery: the smallest signal whose median significance reaches --significance, all that has a constraint
    profiled (asymptotic, arXiv:1007.1727), and n = -(d ln limit / d ln exposure)^-1. The neutrino fog begins where n
    rises above 2 (arXiv:2109.03116). JSON: name, unit, experiment, significance, exposures, limits, indices, notes;
    a limit is null where none is found, an index where the limit no longer falls.

    \b
    jcevns project --experiments xenonnt-2024 --exposure 10:200:5 --out sensitivity
    jcevns project --parameter coupling --theory scalar --at mass=10 --exposure 10,100 --experiments xenonnt-2024-s2
    jcevns project --discovery --spectrum mine.csv --exposure 1:1000:10 --experiments xenonnt-2024-s2 --out fog
    """  # noqa: D301
    if spectrum is None:
        refuse(context, {"b8": "it belongs to --spectrum"})
    elif not given(context, "parameter"):
        parameter = "strength"
    if discovery:
        why = "discovery limits are asymptotic, without toys"
        refuse(context, dict.fromkeys(("toys", "seed", "store"), why))
    else:
        refuse(context, {"significance": "it belongs to --discovery"})
    start_jax()
    asked = dataclasses.replace(asked, theory=with_spectrum(asked.theory, spectrum, b8))
    from jcevns.plot.projections import project as run
    from jcevns.statistics.projections import scaled

    built = load(asked.experiments, asked.shape)
    if len(built) != 1:
        raise ValueError("project takes one experiment: the combination of scaled ones is for Python")
    if discovery:
        asked = dataclasses.replace(asked, experiments=built, shape=None)
        _discovery(asked, parameter, exposure, (significance, background, systematics), out, as_json)
        return
    rows = []
    with bar(len(exposure), "exposures", "exposure") as progress:
        for value in exposure:
            grown = scaled(built[0], value, background, systematics)
            likelihood = dataclasses.replace(asked, experiments=[grown], shape=None).likelihood()
            (name,) = asked.names(likelihood, [parameter])
            record = likelihood.parameters[name]
            if record.null is not None and record.null == record.default:
                refuse(context, {"store": f"the limit of {name} is computed anew"})
            rows += run(likelihood, name, value, toys, seed, store, asked.at, asked.profiled)
            progress(1)
    if out is not None:
        from jcevns.plot.projections import save_projections

        paths = save_projections(rows, out, built[0].name)
        click.echo("written: " + ", ".join(map(str, paths)), err=True)
    if as_json:
        emit_json(rows)
        return
    click.echo(
        f"{'exposure [t y]':>14}  {'-2 sigma':>10} {'-1':>10} {'median':>10} {'+1':>10} {'+2':>10}  {'Asimov':>10}"
    )
    for row in rows:
        numbers = " ".join(f"{_short(v, row['toys']):>10}" for v in row["bands"])
        expected = _short(row["asimov"])
        if row["quantity"].startswith("best fit"):  # half the interval of Delta chi2 = 1
            expected = f"+-{expected}"
        click.echo(f"{row['exposure']:14g}  {numbers}  {expected:>10}  {row['quantity']}, truth {row['truth']:.4g}")
        if row["censored"]:
            text = f"{row['censored']} of {row['toys']} toys end at a bound of {parameter}, or are beyond reach"
            click.echo(f"{'':14}  {text}")
        if row["invalid"]:
            total = row["toys"] + row["invalid"]
            click.echo(f"{'':14}  {row['invalid']} of {total} toys have no valid fit: the bands are without them")
    echo_status(built)


def _discovery(
    asked: Asked,
    parameter: str,
    exposures: list[float],
    settings: tuple[float, float, float],
    out: Path | None,
    as_json: bool,
) -> None:
    """Discovery limits; the settings are the significance, and factors on backgrounds and on widths."""
    from jcevns.plot.projections import save_discovery_limits
    from jcevns.statistics.discovery_limits import discovery_limits

    likelihood = asked.likelihood()
    (name,) = asked.names(likelihood, [parameter])
    with bar(len(exposures), "exposures", "exposure") as progress:
        found = discovery_limits(
            likelihood, name, exposures, *settings, at=asked.at, profiled=asked.profiled, progress=progress
        )
    if out is not None:
        say("written: " + ", ".join(map(str, save_discovery_limits(found, out))))
    if as_json:
        emit_json(dataclasses.asdict(found))
        return
    unit = f" [{found.unit}]" if found.unit else ""
    click.echo(f"discovery limit of {name}{unit}, {found.experiment} scaled: median {found.significance:g} sigma")
    click.echo(f"{'exposure [t y]':>14}  {'limit':>12}  {'n':>8}")
    for place, limit, index in zip(found.exposures, found.limits, found.indices, strict=True):
        click.echo(f"{place:14g}  {_number(limit):>12}  {_number(index):>8}")
    edge = found.where(2.0)
    if edge is not None:
        click.echo(f"n = 2, where the neutrino fog begins: {edge[1]:.4g} at {edge[0]:.4g} tonne-year")
    for note in found.notes:
        click.echo(f"note: {note}")
    echo_status(likelihood.experiments)


def _number(value: float) -> str:
    return "none" if math.isnan(value) else "infinite" if math.isinf(value) else f"{value:.4g}"
