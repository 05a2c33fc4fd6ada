"""Commands of the mediators: limit, scan, plot."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import chosen_from, cli, echo_status, emit_json, experiments_option, load, say, start_jax, values

INTERACTION = "{scalar,vector,b-l,axial,tensor}"
LIMITED = "{scalar,vector,b-l,axial,tensor,strength}"


def _likelihood(experiments: list[str]) -> Any:
    from jcevns.likelihood.joint import Likelihood

    return Likelihood(load(experiments))


def _charges(context: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        charges = tuple(float(part) for part in text.split(","))
    except ValueError:
        charges = ()
    if len(charges) != 3:
        raise click.BadParameter(f"{text!r}: write the charges of nu_e, nu_mu, nu_tau, as in 0,1,-1")
    return charges


flavours_option = click.option(
    "--flavours", callback=_charges, metavar="e,mu,tau", help="Charges that multiply g^2.  [default: universal]"
)


def _theory(interaction: str, flavours: tuple[float, ...] | None) -> tuple[Any, str]:
    """What `limits` and `grid` take, and how it is called."""
    if flavours is None:
        return interaction, interaction
    from jcevns.inference.grid import named_interaction

    charges = ", ".join(f"{q:g}" for q in flavours)
    return named_interaction(interaction, flavours=flavours), f"{interaction} with charges {charges} of e, mu, tau"


def _number(value: float | None) -> str:
    return "..." if value is None else f"{value:.4g}"


@cli.command()
@click.argument("interaction", metavar=LIMITED, shell_complete=chosen_from(LIMITED))
@click.option("--mass", callback=values, metavar="M,...|lo:hi:n", help="Mediator masses in MeV.")
@experiments_option
@flavours_option
@click.option("--cl", default=0.90, show_default=True, help="Confidence level.")
@click.option("--dof", default=1, show_default=True, help="Parameters of interest for the threshold.")
@click.option("--minimum", default="each", show_default=True, help="Count from the minimum at each mass, or of all.")
@click.option("--spectrum", type=click.Path(path_type=Path), help="CSV of your own dR/dT, for strength (see fit).")
@click.option("--b8", default="background", show_default=True, help="8B neutrinos beside it: background or none.")
@click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output.")
def limit(
    interaction: str,
    mass: list[float],
    experiments: list[str],
    flavours: tuple[float, ...] | None,
    cl: float,
    dof: int,
    minimum: str,
    spectrum: Path | None,
    b8: str,
    as_json: bool,
) -> None:
    """Excluded couplings of a mediator at given masses, or strengths of a signal of your own.

    All excluded intervals are found: the universal vector has an island, an allowed band and a region.
    Delta chi2 is counted from the minimum over the coupling at each mass; with --minimum all from the lowest of
    all masses given, as in a contour in the plane (Fig. 4 of the paper).

    \b
    JSON: a list of {mass_MeV, excluded: [[lo, hi], ...] (hi null: to the largest coupling searched),
    best_fit, delta_chi2, valid}. For strength: {excluded, delta_chi2, cl}.
    """  # noqa: D301
    start_jax()
    if interaction == "strength":
        _limit_strength(experiments, spectrum, b8, cl, as_json)
        return
    if not mass:
        raise ValueError("--mass is missing: give mediator masses in MeV, as in --mass 1,10,100")
    from jcevns.inference.limits import limits
    from jcevns.physics.interactions import interaction as check

    check(interaction)
    likelihood = _likelihood(experiments)
    theory, title = _theory(interaction, flavours)
    results = limits(likelihood, theory, mass, cl, dof, minimum)
    if as_json:
        emit_json(
            [
                {
                    "mass_MeV": r.mass,
                    "excluded": [list(pair) for pair in r.excluded],
                    "best_fit": r.best_fit,
                    "delta_chi2": r.threshold,
                    "valid": r.valid,
                }
                for r in results
            ]
        )
    else:
        click.echo(f"{title}, {' + '.join(likelihood.names)}: excluded couplings")
        where = "at each mass" if minimum == "each" else "over all masses"
        click.echo(f"{cl:.0%} CL, {dof} dof: Delta chi2 = {results[0].threshold:.3f} from the minimum {where}")
        click.echo(f"{'mass [MeV]':>12}   excluded")
        for r in results:
            text = "  ".join(f"[{_number(low)}, {_number(high)}]" for low, high in r.excluded) or "none"
            click.echo(f"{r.mass:12.4g}   {text}{'' if r.valid else '   NOT VALID'}")
        echo_status(likelihood.experiments)
    if not all(r.valid for r in results):
        raise RuntimeError("some limits rest on a fit that is not valid: do not use them")


def _limit_strength(experiments: list[str], spectrum: Path | None, b8: str, cl: float, as_json: bool) -> None:
    from jcevns.cli.standard import strength
    from jcevns.inference.intervals import interval

    likelihood, parameter = strength(experiments, spectrum, b8)
    found = interval(likelihood, parameter, cl)
    excluded = [[0.0, found.lower]] if found.lower is not None else []
    excluded += [[found.upper, None]] if found.upper is not None else []
    if as_json:
        emit_json({"excluded": excluded, "delta_chi2": found.threshold, "cl": cl})
        return
    click.echo(f"strength of {spectrum}, {' + '.join(likelihood.names)}, 8B {b8}")
    text = "  ".join(f"[{_number(low)}, {_number(high)}]" for low, high in excluded) or "none"
    click.echo(f"excluded at {cl:.0%} CL (Delta chi2 = {found.threshold:.3f} from the minimum): {text}")
    echo_status(likelihood.experiments)


def _shard(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        raise click.BadParameter(f"{text!r}: write i/n, as in 1/8") from None
    if not 1 <= i <= n:
        raise click.BadParameter(f"{text!r}: i runs from 1 to n")
    return i, n


@cli.command()
@click.argument("interaction", metavar=INTERACTION, shell_complete=chosen_from(INTERACTION))
@click.option("--mass", required=True, callback=values, metavar="lo:hi:n", help="MeV, log-spaced, or a list.")
@click.option("--coupling", required=True, callback=values, metavar="lo:hi:n", help="Log-spaced, or a list.")
@experiments_option
@flavours_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the results, FILE.zarr.")
@click.option("--shard", callback=_shard, metavar="i/n", help="Only part i of n; all parts fill one store.")
def scan(
    interaction: str,
    mass: list[float],
    coupling: list[float],
    experiments: list[str],
    flavours: tuple[float, ...] | None,
    out: Path,
    shard: tuple[int, int] | None,
) -> None:
    """Profile fits on a grid of masses and couplings, into a zarr store.

    Resumes by itself: what is in the store is not computed again. A job array runs the same command with
    --shard 1/n ... n/n. Read it with xarray.open_zarr; it holds chi2, valid, edm and pulls.
    """
    start_jax()
    from jcevns.inference.grid import grid
    from jcevns.inference.scan import scan as run

    theory, title = _theory(interaction, flavours)
    theories = dataclasses.replace(grid(theory, mass=mass, coupling=coupling), name=title)
    likelihood = _likelihood(experiments)
    result = run(likelihood, theories, out, shard)
    there = int(result.edm.notnull().sum())
    valid = int(result.valid.sum())
    click.echo(f"{out}: {there} of {result.chi2.size} points, {there - valid} not valid")
    if valid:
        lowest = result.chi2.where(result.chi2 == result.chi2.min(), drop=True)
        at = ", ".join(f"{name} = {float(lowest[name][0]):.4g}" for name in lowest.dims)
        click.echo(f"minimum chi2 = {float(result.chi2.min()):.4f} at {at}")
    echo_status(likelihood.experiments)


@cli.command()
@click.argument("store", type=click.Path(path_type=Path), metavar="FILE.zarr")
@click.option("--out", type=click.Path(path_type=Path), help="Figure without suffix.  [default: FILE]")
@click.option("--cl", default=0.90, show_default=True, help="Confidence level of the contour.")
@click.option("--dof", default=1, show_default=True, help="Parameters of interest for the threshold.")
def plot(store: Path, out: Path | None, cl: float, dof: int) -> None:
    """Plot a scan: Delta chi2 and its contour, as PNG and PDF. Points that are not valid are hatched."""
    from jcevns.inference.scan import open_scan
    from jcevns.report.exclusion import plot_scan
    from jcevns.report.style import figure, save, style

    result = open_scan(store)
    with style():
        fig, (ax,) = figure(width=4.6, height=3.6)
        plot_scan(result, ax, cl, dof)
        paths = save(fig, out or store.with_suffix(""))
    say("written: " + ", ".join(map(str, paths)))
