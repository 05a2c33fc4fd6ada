"""Commands of exclusion: limit, scan, plot."""

import dataclasses
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import cli, echo_status, emit_json, say, start_jax
from jcevns.cli.building import Asked, Axis, axis_values, short_form, with_spectrum
from jcevns.cli.options import (
    axes_option,
    bar,
    charges,
    csv_option,
    json_option,
    model_options,
    out_option,
    parameter_names,
    refuse,
    shard,
    short_axis,
)
from jcevns.cli.shipped import theory_names
from jcevns.spelling import unknown

MEDIATORS = (
    *("scalar", "vector", "b-l", "axial", "tensor"),
    *("b-3le", "b-3lmu", "b-3ltau", "le-lmu", "le-ltau", "lmu-ltau", "dark-photon"),
)
"""Theories of one boson, whose limits are at given masses."""

flavours_option = click.option(
    "--flavours", callback=charges, metavar="e,mu,tau", help="Charges that multiply g^2.  [default: universal]"
)


def _title(theory: str, flavours: tuple[float, ...] | None) -> str:
    if flavours is None:
        return theory
    return f"{theory} with charges {', '.join(f'{q:g}' for q in flavours)} of e, mu, tau"


def _flavours(context: click.Context, flavours: tuple[float, ...] | None, short: bool) -> dict[str, Any]:
    """Charges as an option of the theory, where this is named in short."""
    if not short:
        refuse(context, {"flavours": "write them into the theory, as in --theory vector:flavours=0,1,-1"})
    return {} if flavours is None else {"flavours": flavours}


def _number(value: float | None) -> str:
    return "..." if value is None else f"{value:.4g}"


def _ranges(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    return "  ".join(f"[{_number(low)}, {_number(high)}]" for low, high in pairs) or "none"


@cli.command()
@click.argument("name", metavar="NAME", shell_complete=parameter_names("strength", *MEDIATORS))
@short_axis("--mass", "Masses of a mediator in MeV: short for --over mass=...")
@axes_option("--over", "A limit at every value of these; repeatable.")
@model_options("at", "profiled")
@flavours_option
@click.option("--cl", default=0.90, show_default=True, help="Confidence level.")
@click.option("--dof", default=1, show_default=True, help="Parameters of interest for the threshold.")
@click.option("--minimum", default="each", show_default=True, help="Count from the minimum of each place, or of all.")
@click.option("--method", default="two-sided", show_default=True, help="Or one-sided, cls, pcl, feldman-cousins.")
@click.option("--expected", is_flag=True, help="Expected limits beside a two-sided one; the others have them.")
@click.option("--power", default=None, type=float, help="Smallest power of pcl.  [default: 0.16]")
@click.option(
    "--toys",
    default=None,
    type=int,
    help="Toys per value and hypothesis; not for two-sided, needed by feldman-cousins.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same toys.")
@click.option("--store", type=click.Path(path_type=Path), help="Folder to keep finished toys in; resumes.")
@click.option("--hepdata", type=click.Path(path_type=Path), help="Folder for a HEPData submission of the limits.")
@csv_option
@json_option
@click.pass_context
def limit(
    context: click.Context,
    name: str,
    mass: Axis | None,
    axes: list[Axis],
    asked: Asked,
    flavours: tuple[float, ...] | None,
    cl: float,
    dof: int,
    minimum: str,
    method: str,
    expected: bool,
    power: float | None,
    toys: int | None,
    seed: int,
    store: Path | None,
    hepdata: Path | None,
    spectrum: Path | None,
    b8: str,
    as_json: bool,
) -> None:
    """Excluded values of a parameter, at given values of others.

    All excluded intervals are found: the universal vector has an island, an allowed band and a region.
    Delta chi2 is counted from the minimum over the parameter at each place; with --minimum all from the lowest of
    all places given, as in a contour in the plane (Fig. 4 of the paper). `limit vector --mass 1,10` is short for
    `limit coupling --theory vector --over mass=1,10`, and `limit strength --spectrum FILE.csv` (see fit) for a
    signal of your own.

    --method: two-sided excludes what has Delta chi2 above the threshold; upper limits are one-sided (p below 1 - CL),
    cls (CLs below 1 - CL), pcl (one-sided, not below the -1 sigma expected limit); feldman-cousins takes thresholds
    from --toys and gives one end or two. They have the limits expected without signal, at -2 to +2 sigma, beside
    them.

    \b
    jcevns limit b-l --mass 1,10,100 --experiments xenonnt-2024-s2
    jcevns limit vector --mass 10 --flavours 0,1,-1 --experiments coherent-csi-2021:shapes=none
    jcevns limit coupling --theory scalar --over mass=1e-2:1e4:60 --profile sin2w --experiments xenonnt-2024-s2
    jcevns limit moment --theory magnetic-moment --experiments xenonnt-er-2022,lz-er-ws2022
    jcevns limit scalar --mass 10 --method cls --toys 5000 --experiments xenonnt-2024-s2

    lo:hi:n are n values, even in the logarithm for masses and couplings and else linear; :lin or :log says which.

    \b
    JSON: a list of {at: {name: value}, parameter, excluded: [[lo, hi], ...] (hi null: to the largest value searched),
    segments (what is accepted), best_fit, delta_chi2, valid, method}. With --mass: a list of {mass_MeV, excluded,
    best_fit, delta_chi2, valid, method}. What is not valid has problems too. For strength: {excluded, segments,
    delta_chi2, cl, method}. All have expected, five numbers, if there are expected limits; error and toys with toys.
    """  # noqa: D301
    if mass is not None and (asked.theory is not None or name not in MEDIATORS):
        if asked.theory is None and spectrum is None:
            raise ValueError(unknown("mediator", name, MEDIATORS, "--mass goes with one of"))
        raise ValueError(f"--mass is short for mediators alone: write --over {mass.name}=1,10")
    if mass is None and not axes and not asked.at and name in MEDIATORS:
        raise ValueError("--mass is missing: give mediator masses in MeV, as in --mass 1,10,100")
    options = _flavours(context, flavours, name in MEDIATORS)
    if spectrum is None:
        refuse(context, {"b8": "it belongs to --spectrum"})
    start_jax()
    from jcevns.statistics.limits import limits, where_low
    from jcevns.statistics.upper import METHODS

    _check_method(context, method, METHODS, toys)
    theory, name = short_form(name, asked.theory)
    asked = dataclasses.replace(asked, theory=with_spectrum(theory, spectrum, b8))
    likelihood = asked.likelihood(**options)
    (full,) = asked.names(likelihood, [name])
    over = axis_values(asked, likelihood, [mass, *axes])
    if len(over) == 0:
        refuse(context, {"minimum": "there is one place alone, give --over"})
    settings: dict[str, Any] = {"method": method, "expected": expected, "toys": toys, "seed": seed, "store": store}
    settings |= {} if power is None else {"power": power}
    with bar(math.prod(map(len, over.values())), "limits", "limit") if toys else nullcontext() as progress:
        settings |= {} if progress is None else {"progress": progress}
        results = limits(likelihood, full, over, cl, dof, minimum, asked.at, asked.profiled, **settings)
    if len(results) == 1 and dof == 1 and not expected:
        results = [where_low(likelihood, results[0], cl, asked.at, asked.profiled)]
    if spectrum is not None and not over:
        _report_strength(likelihood, results[0], f"{name} of {spectrum}", b8, cl, as_json)
    elif as_json:
        emit_json([_row(r, mass is not None and len(over) == 1) for r in results])
    else:
        _report(likelihood, results, _title(theory or "", flavours), over, cl, dof, minimum)
    if hepdata is not None and all(r.valid for r in results):
        from jcevns.statistics.hepdata import to_hepdata

        click.echo(f"written: {to_hepdata(results, hepdata, likelihood)[-1]}", err=True)
    if not all(r.valid for r in results):
        raise RuntimeError("some limits rest on a fit that is not valid: do not use them")


def _check_method(context: click.Context, method: str, known: Sequence[str], toys: int | None) -> None:
    """Refuse options that a method does not use."""
    if method not in known:
        raise ValueError(unknown("method", method, known))
    if method == "two-sided":
        refuse(context, {"toys": "thresholds by toys are --method feldman-cousins"})
    else:
        refuse(context, dict.fromkeys(("dof", "minimum"), f"a {method} limit is of one parameter at each place"))
        refuse(context, {"expected": f"a {method} limit has its expected ones anyway"})
    if method == "feldman-cousins" and toys is None:
        raise ValueError("--method feldman-cousins is by toys: give their number, as in --toys 1000")
    if method != "pcl":
        refuse(context, {"power": "it belongs to --method pcl"})
    if toys is None:
        refuse(context, dict.fromkeys(("seed", "store"), "it belongs to --toys"))


def _extra(found: Any) -> dict[str, Any]:
    """Method, expected limits and what toys say, as JSON; what is infinite is null."""
    band = {"expected": list(found.expected)} if found.expected else {}
    toys = {"error": found.error, "toys": found.toys, "invalid_toys": found.invalid} if found.toys else {}
    known = {"alone": found.alone, "power_constrained": found.constrained, "runs_low": found.runs_low}
    return {"method": found.method, **band, **toys, **(known if found.expected else {})}


def _row(found: Any, short: bool) -> dict[str, Any]:
    """A limit as JSON; in short for a mediator at a mass."""
    at = dict(found.at)
    head = {"mass_MeV": next(iter(at.values()))} if short else {"at": at, "parameter": found.name}
    middle = {} if short else {"segments": found.segments}
    numbers = {"best_fit": found.best_fit, "delta_chi2": found.threshold, "valid": found.valid}
    if found.problems:
        numbers["problems"] = list(found.problems)
    return {**head, "excluded": found.excluded, **middle, **numbers, **_extra(found)}


def _report(
    likelihood: Any, results: Sequence[Any], title: str, over: dict[str, Any], cl: float, dof: int, minimum: str
) -> None:
    from jcevns.fit.rounding import percent

    unit = likelihood.parameters[results[0].name].unit
    what = f"{results[0].name}{f' [{unit}]' if unit else ''}"
    click.echo(f"{f'{title}, ' if title else ''}{' + '.join(likelihood.names)}: excluded values of {what}")
    others = " and ".join(over)
    where = f" over all values of {others}" if minimum == "all" else f" at each {others}" if over else ""
    first = results[0]
    if first.method == "two-sided":
        click.echo(f"{percent(cl)} CL, {dof} dof: Delta chi2 = {first.threshold:.3f} from the minimum{where}")
    else:
        click.echo(f"{percent(cl)} CL{where}: {_method(first)}")
    if any(r.expected for r in results):
        click.echo("expected: upper limits without signal at -2, -1, 0, 1, 2 sigma")
    units = [likelihood.parameters[n].unit for n in over]
    heads = [f"{n}{f' [{u}]' if u else ''}" for n, u in zip(over, units, strict=True)]
    widths = [max(12, len(head)) for head in heads]
    click.echo("".join(f"{head:>{w}}   " for head, w in zip(heads, widths, strict=True)) + "excluded")
    for r in results:
        place = "".join(f"{v:{w}.4g}   " for v, w in zip(r.at.values(), widths, strict=True))
        beside = f"{_with_error(r)}{_expected(r)}"
        click.echo(
            f"{place}{_ranges(r.excluded)}{beside}{'' if r.valid else '   NOT VALID: ' + '; '.join(r.problems)}"
        )
    _say_low(results)
    echo_status(likelihood.experiments)


def _say_low(results: Sequence[Any]) -> None:
    """One line where the data run low."""
    low = [r for r in results if r.runs_low]
    if len(results) == 1 and low:
        click.echo(low[0].note)
    elif low:
        where = "; ".join(", ".join(f"{n} {v:.4g}" for n, v in r.at.items()) for r in low)
        click.echo(
            f"the data run low, below the -1 sigma expected limit, at {len(low)} of {len(results)} places ({where}): "
            "quote the expected limits beside, and --method pcl"
        )


_WORDS = {
    "one-sided": "one-sided upper limit",
    "cls": "CLs upper limit",
    "pcl": "power-constrained upper limit",
    "feldman-cousins": "Feldman-Cousins interval",
}


def _method(found: Any) -> str:
    both = "" if found.method == "feldman-cousins" else ", with signal and without"
    how = f"{found.toys} toys per value{both}" if found.toys else "asymptotic"
    lost = f", {found.invalid} without a valid fit" if found.invalid else ""
    return f"{_WORDS[found.method]}, {how}{lost}"


def _with_error(found: Any) -> str:
    return "" if found.error is None else f"   +- {found.error:.2g} from the number of toys"


def _expected(found: Any) -> str:
    if not found.expected:
        return ""
    return "   expected " + " ".join("infinite" if math.isinf(v) else f"{v:.4g}" for v in found.expected)


def _report_strength(likelihood: Any, found: Any, what: str, b8: str, cl: float, as_json: bool) -> None:
    from jcevns.fit.rounding import percent

    if as_json:
        segments = {"excluded": found.excluded, "segments": found.segments}
        emit_json({**segments, "delta_chi2": found.threshold, "cl": cl, **_extra(found)})
        return
    click.echo(f"{what}, {' + '.join(likelihood.names)}, 8B {b8}")
    two = found.method == "two-sided"
    how = f"Delta chi2 = {found.threshold:.3f} from the minimum" if two else _method(found)
    invalid = "" if found.valid else f"   NOT VALID: {'; '.join(found.problems)}"
    beside = f"{_with_error(found)}{_expected(found)}"
    click.echo(f"excluded at {percent(cl)} CL ({how}): {_ranges(found.excluded)}{beside}{invalid}")
    _say_low([found])
    echo_status(likelihood.experiments)


@cli.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=parameter_names(*MEDIATORS))
@short_axis("--mass", "Masses of a mediator in MeV: short for --axis mass=...")
@short_axis("--coupling", "Couplings of a mediator: short for --axis coupling=...")
@axes_option("--axis", "An axis of the grid; repeatable, the first varies slowest.")
@model_options("at", "profiled", "constrained")
@flavours_option
@out_option("Folder of the results, FILE.zarr.", required=True)
@click.option("--shard", callback=shard, metavar="i/n", help="Only part i of n; all parts fill one store.")
@click.pass_context
def scan(
    context: click.Context,
    name: str | None,
    mass: Axis | None,
    coupling: Axis | None,
    axes: list[Axis],
    asked: Asked,
    flavours: tuple[float, ...] | None,
    out: Path,
    shard: tuple[int, int] | None,
) -> None:
    """Profile fits on a grid of any parameters, into a zarr store.

    Resumes by itself: what is in the store is not computed again. A job array runs the same command with
    --shard 1/n ... n/n. Read it with xarray.open_zarr; it holds chi2, valid, edm and pulls, and the values of
    profiled parameters. NAME is a theory: `scan vector --mass 1:100:30 --coupling 1e-6:1e-3:40` is short for
    `scan --theory vector --axis mass=1:100:30 --axis coupling=1e-6:1e-3:40`.

    \b
    jcevns scan vector --mass 1e-2:1e4:200 --coupling 1e-7:1e-2:200 --experiments xenonnt-2024-s2 --out v.zarr
    jcevns scan --theory scalar --axis mass=10 --axis coupling=1e-6:1e-4:50 --axis sin2w=0.2:0.3:11
        --experiments xenonnt-2024-s2 --out three.zarr

    lo:hi:n are n values, even in the logarithm for masses and couplings and else linear; :lin or :log says which.
    """  # noqa: D301
    if name is not None:
        if asked.theory is not None:
            raise ValueError(f"{name} and --theory {asked.theory}: give one theory")
        if name not in theory_names():
            raise ValueError(unknown("theory", name, theory_names(), "give --theory SPEC, or one of"))
        asked = dataclasses.replace(asked, theory=name)
    every = [mass, coupling, *axes]
    if not any(every):
        raise ValueError("a scan needs an axis: --axis NAME=lo:hi:n, or --mass and --coupling with a mediator")
    start_jax()
    from jcevns.statistics.scan import fill_store
    from jcevns.statistics.store import holdings

    likelihood = asked.likelihood(**_flavours(context, flavours, name is not None))
    grid = axis_values(asked, likelihood, every)
    fill_store(likelihood, grid, out, asked.at, asked.profiled, asked.constrained, shard)
    found = holdings(out)
    click.echo(f"{out}: {found.there} of {found.points} points, {found.there - found.valid} not valid")
    if found.valid:
        where = ", ".join(f"{name} = {value:.4g}" for name, value in found.at.items())
        click.echo(f"minimum chi2 = {found.chi2:.4f} at {where}")
    echo_status(likelihood.experiments)


@cli.command()
@click.argument("store", type=click.Path(path_type=Path), metavar="FILE.zarr")
@out_option("Figure without suffix.  [default: FILE]")
@click.option("--cl", default=0.90, show_default=True, help="Confidence level of the contour.")
@click.option("--dof", default=1, show_default=True, help="Parameters of interest for the threshold.")
def plot(store: Path, out: Path | None, cl: float, dof: int) -> None:
    """Plot a scan of two axes: Delta chi2 and its contour, as PNG and PDF. Points that are not valid are hatched.

    Of a scan of one axis, or with one value on the others, the curve of Delta chi2 is drawn.
    """
    from jcevns.plot.exclusion import plot_scan, plot_scan_curve
    from jcevns.plot.style import figure, save, style
    from jcevns.statistics.store import open_scan

    result = open_scan(store)
    with style():
        fig, (ax,) = figure(width=4.6, height=3.6)
        draw = plot_scan if sum(size > 1 for size in result.chi2.shape) != 1 else plot_scan_curve
        draw(result, ax, cl, dof)
        paths = save(fig, out or (store.with_suffix("") if store.suffix == ".zarr" else store))
    say("written: " + ", ".join(map(str, paths)))
