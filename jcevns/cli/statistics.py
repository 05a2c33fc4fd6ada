"""Commands of the statistics: toys, project."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import chosen_from, cli, echo_status, emit_json, experiments_option, load, start_jax, values
from jcevns.spelling import unknown

TASKS = "{significance,interval,coverage,fit-quality}"


SMALLEST_FLUX = 1e3  # cm^-2 s^-1: a number below was meant in other units


@contextmanager
def _bar(total: int, label: str) -> Iterator[Callable[[int], Any]]:
    """Progress on a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit="toy", unit_scale=True, desc=label, disable=None) as bar:
        yield bar.update


def _hypothesis(parameter: str, experiments: list[Any], interaction: str | None, mass: float | None) -> Any:
    from jcevns.inference.hypothesis import coupling_hypothesis, hypothesis
    from jcevns.inference.parameters import find_parameter
    from jcevns.likelihood.joint import Likelihood

    if parameter == "coupling":
        if interaction is None or mass is None:
            raise ValueError("--parameter coupling needs --interaction NAME and --mass M (MeV)")
        return coupling_hypothesis(Likelihood(experiments), interaction, mass)
    quantity = find_parameter(parameter)
    return hypothesis(Likelihood(experiments, quantity.flux_pull), quantity)


def _common(command: Callable) -> Callable:
    """Options of both commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output."),
        click.option("--store", type=click.Path(path_type=Path), help="Folder to keep finished toys in; resumes."),
        click.option("--seed", default=1, show_default=True, help="The same seed gives the same toys."),
        click.option("--mass", type=float, help="Mediator mass in MeV, with --parameter coupling."),
        click.option("--interaction", help="scalar, vector, b-l, axial or tensor, with --parameter coupling."),
        click.option("--parameter", default="flux", show_default=True, help="flux, sin2w or coupling."),
        experiments_option,
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("task", metavar=TASKS, shell_complete=chosen_from(TASKS))
@_common
@click.option("--toys", default=1000, show_default=True, help="Toys, per value where there are several.")
@click.option("--values", callback=values, metavar="A,...", help="Values tested (interval) or true (coverage).")
@click.option("--cl", default=0.90, show_default=True, help="Confidence level of the interval.")
def toys(
    task: str,
    experiments: list[str],
    parameter: str,
    interaction: str | None,
    mass: float | None,
    seed: int,
    store: Path | None,
    as_json: bool,
    toys: int,
    values: list[float],
    cl: float,
) -> None:
    """Calibrate statistics with toy experiments, auxiliary measurements fluctuated too.

    \b
    significance  p-value of no signal, beside the asymptotic sqrt(Delta chi2)
    interval      Feldman-Cousins interval over --values (nuisances profiled)
    coverage      of the asymptotic 68.27% and 90% intervals at true --values
    fit-quality   p-value of the saturated deviance at the best fit

    Flux in cm^-2 s^-1: --values 2e6,4e6,6e6.
    """  # noqa: D301
    start_jax()
    from jcevns.inference import calibration

    tasks = ("significance", "interval", "coverage", "fit-quality")
    if task not in tasks:
        raise ValueError(unknown("task", task, tasks))
    if task in ("interval", "coverage") and not values:
        raise ValueError(f"toys {task} needs --values, as in --values 2e6,4e6,6e6")
    if parameter == "flux" and any(0 < value < SMALLEST_FLUX for value in values):
        raise ValueError(f"--values {min(v for v in values if v > 0):g}: a flux is in cm^-2 s^-1, as in 5e6")
    built = load(experiments)
    chosen = _hypothesis(parameter, built, interaction, mass)
    total = toys * (len(values) if task in ("interval", "coverage") else 1)
    with _bar(total, task) as progress:
        if task == "significance":
            result: Any = calibration.discovery(chosen, toys, seed, store, progress=progress)
        elif task == "interval":
            result = calibration.toy_interval(chosen, values, cl, toys, seed, store, progress=progress)
        elif task == "coverage":
            result = calibration.coverage(chosen, values, toys=toys, seed=seed, store=store, progress=progress)
        else:
            result = calibration.fit_quality(chosen, toys, seed, store, progress=progress)
    rows = [calibration.as_json(r) for r in (result if isinstance(result, list) else [result])]
    if as_json:
        emit_json(rows if isinstance(result, list) else rows[0])
        return
    click.echo(f"{task} of {chosen.name}{f' [{chosen.unit}]' if chosen.unit else ''}, {', '.join(experiments)}")
    for row in rows:
        for key, value in row.items():
            text = ", ".join(f"{v:.4g}" for v in value) if isinstance(value, list) else _text(value)
            click.echo(f"  {key:12} {text}")
    echo_status(built)


def _text(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


@cli.command()
@_common
@click.option("--exposure", required=True, callback=values, metavar="lo:hi:n|A,...", help="Tonne-year.")
@click.option("--background", default=1.0, show_default=True, help="Factor on the background rates.")
@click.option("--systematics", default=1.0, show_default=True, help="Factor on the widths of the nuisances.")
@click.option("--toys", default=500, show_default=True, help="Toys per exposure, for the bands.")
@click.option("--out", type=click.Path(path_type=Path), help="Figure without suffix.")
def project(
    experiments: list[str],
    parameter: str,
    interaction: str | None,
    mass: float | None,
    seed: int,
    store: Path | None,
    as_json: bool,
    exposure: list[float],
    background: float,
    systematics: float,
    toys: int,
    out: Path | None,
) -> None:
    """Expected sensitivity of an experiment scaled to other exposures, Standard Model true.

    Flux: expected significance and best fit. sin2w: best fit. Coupling: 90% CL upper limit. Median and +-1, +-2
    sigma from toys; Asimov beside them.
    """
    start_jax()
    from jcevns.inference.projections import scaled
    from jcevns.report.projections import project as run

    built = load(experiments)
    if len(built) != 1:
        raise ValueError("project takes one experiment: the combination of scaled ones is for Python")
    rows = []
    with _bar(len(exposure), "exposures") as progress:
        for value in exposure:
            grown = scaled(built[0], value, background, systematics)
            rows += run(_hypothesis(parameter, [grown], interaction, mass), value, toys, seed, store)
            progress(1)
    if out is not None:
        from jcevns.report.projections import save_figure

        paths = save_figure(rows, out, built[0].name)
        click.echo("written: " + ", ".join(map(str, paths)), err=True)
    if as_json:
        emit_json(rows)
        return
    click.echo(
        f"{'exposure [t y]':>14}  {'-2 sigma':>10} {'-1':>10} {'median':>10} {'+1':>10} {'+2':>10}  {'Asimov':>10}"
    )
    for row in rows:
        numbers = " ".join(f"{v:10.4g}" for v in row["bands"])
        expected = f"{row['asimov']:.4g}"
        if row["quantity"].startswith("best fit"):  # half the interval of Delta chi2 = 1
            expected = f"+-{expected}"
        click.echo(f"{row['exposure']:14g}  {numbers}  {expected:>10}  {row['quantity']}, truth {row['truth']:.4g}")
    echo_status(built)
