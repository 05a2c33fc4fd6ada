"""Commands of the paper and of the data: reproduce, spectrum, data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import Group, cli, emit_json, say, start_jax
from jcevns.cli.options import json_option, names, numbers, out_option
from jcevns.cli.shipped import shipped
from jcevns.spelling import unknown


@cli.command(short_help="Reproduce the paper's numbers and figures.")
@out_option("Result folder.", default="reproduced", show_default=True)
@click.option("--only", callback=names, metavar="NAME,...", help="Run only these steps (see above).")
@click.option("--full", is_flag=True, help="Also the long steps; their results are kept between runs.")
def reproduce(out: Path, only: list[str], full: bool) -> None:
    """Reproduce the paper: eqs. 18-23, Figs. 1 to 5, rates, limits, systematics.

    Writes summary.json, report.html (self-contained), figures (PNG, PDF) and tables (CSV) to the folder.

    \b
    Steps: flux, sin2w, rates, fig1, fig2, fig3, fig4, fig5, limits, systematics, posteriors, official,
    electromagnetic; with --full also sampled-posteriors, official-limits, official-toys, projections, radii,
    gauge-bosons, nsi, systematics-grid.
    """  # noqa: D301
    start_jax()
    from jcevns.paper.reproduce import reproduce as run

    summary = run(out, only, full, say)
    rows = summary["comparison"]
    if rows:
        click.echo(_comparison_table(rows))
    click.echo(
        f"report: {out / 'report.html'}   numbers: {out / 'summary.json'}   ({summary['seconds']['total']:.1f} s)"
    )
    click.echo("PandaX-4T bins are a reconstruction; agreement is partly by construction: see the report.")


def _comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    from jcevns.fit.rounding import unit_scale

    lines = [f"{'eq.':4} {'quantity':9} {'data':9} {'paper':>22} {'ours':>24}  verdict"]
    units: dict[str, str] = {}
    for row in rows:
        scale, unit = unit_scale(row["unit"])
        digits = 2 if scale > 1 else 3
        units |= {row["quantity"]: unit.strip()} if unit else {}
        texts = []
        for side in ("paper", "ours"):
            n = row[side]
            up = "open" if n["error_up"] is None else f"+{n['error_up'] / scale:.{digits}f}"
            down = "open" if n["error_down"] is None else f"-{n['error_down'] / scale:.{digits}f}"
            texts.append(f"{n['value'] / scale:.{digits}f} {up} {down}")
        head = f"{row['equation']:4} {row['quantity']:9} {row['dataset']:9}"
        lines.append(f"{head} {texts[0]:>22} {texts[1]:>24}  {row['verdict']}")
    notes = [f"{quantity} in {unit}; " for quantity, unit in units.items()]
    return "\n".join([*lines, f"({''.join(notes)}errors: Delta chi2 = 1)"])


@cli.command()
@click.option("--thresholds", default="0.3,0.5,0.7,1.0,1.1,2.0,3.0", show_default=True, callback=numbers, help="keV.")
@click.option("--shape", default="bahcall1996", show_default=True, help="bahcall1996 or winter2006.")
@click.option("--sin2w", type=float, default=None, help="sin^2(theta_W).  [default: 0.23857]")
@click.option("--flux", type=float, default=None, help="Total 8B flux in cm^-2 s^-1.  [default: 5.46e6]")
@click.option("--form-factor", default="klein-nystrand", show_default=True, help="klein-nystrand, helm or fermi.")
@click.option("--hep", is_flag=True, help="Add hep neutrinos (7.98e3 cm^-2 s^-1).")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write dR/dT to this file ('-': print it).")
@json_option
def spectrum(
    thresholds: list[float],
    shape: str,
    sin2w: float | None,
    flux: float | None,
    form_factor: str,
    hep: bool,
    csv_path: Path | None,
    as_json: bool,
) -> None:
    """Recoil spectrum of 8B CEvNS on natural xenon, at full efficiency.

    Prints events per tonne-year above each threshold; --csv writes recoil_keV, events_per_tonne_year_keV.

    \b
    jcevns spectrum --thresholds 0.5,1.0 --csv spectrum.csv
    jcevns spectrum --sin2w 0.25 --form-factor helm --json
    """  # noqa: D301
    to_stdout = csv_path is not None and str(csv_path) == "-"
    if to_stdout and as_json:
        raise click.UsageError("--csv - and --json both print to standard output: give one of them")
    if form_factor not in shipped()["form_factors"]:
        raise ValueError(unknown("form factor", form_factor, shipped()["form_factors"]))
    start_jax()
    from jcevns.paper.spectrum import spectrum_counts

    result = spectrum_counts(thresholds, shape, sin2w, flux, form_factor, hep)
    rows = zip(result["spectrum"]["recoil_keV"], result["spectrum"]["events_per_tonne_year_keV"], strict=True)
    if csv_path is not None:
        text = "recoil_keV,events_per_tonne_year_keV\n" + "".join(f"{t:.10g},{r:.10g}\n" for t, r in rows)
        if to_stdout:
            click.echo(text, nl=False)
            return
        from jcevns.files import write_text

        write_text(csv_path, text)
    if as_json:
        emit_json(result)
        return
    settings = {k: v for k, v in result.items() if isinstance(v, float)}
    head = ", ".join(f"{name} {value:.5g}" for name, value in settings.items())
    click.echo(f"8B ({shape}), {head} (fluxes in cm^-2 s^-1), {form_factor}")
    click.echo("threshold [keV]   events per tonne-year")
    for row in result["counts"]:
        click.echo(f"{row['threshold_keV']:15g}   {row['events_per_tonne_year']:.6g}")


@cli.group(cls=Group, invoke_without_command=True)
@click.pass_context
def data(context: click.Context) -> None:
    """List the shipped tables with their status; `show NAME` prints a card."""
    if context.invoked_subcommand is not None:
        return
    from jcevns import datasets

    for card in datasets.cards().values():
        click.echo(f"{card.name:28} {card.status:14} {card.title}")


def _complete_tables(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    from jcevns import datasets

    return [name for name in datasets.cards() if name.startswith(incomplete)]


@data.command()
@click.argument("name", shell_complete=_complete_tables)
def show(name: str) -> None:
    """Print the card of one table, and verify its checksum."""
    from jcevns import datasets

    card = datasets.card(name)
    (datasets.read_arrays if card.file.endswith(".npz") else datasets.read_table)(name)
    click.echo(f"{card.name}: {card.title}\n  status     {card.status}\n  file       {card.file}")
    click.echo(f"  reference  {card.reference}\n  arXiv      {card.arxiv or '-'}\n  doi        {card.doi or '-'}")
    click.echo(f"  licence    {card.licence}\n  sha256     {card.sha256} (verified)\n\n{card.description}\n")
    for column in card.columns:
        click.echo(f"  {column.name:28} [{column.unit}] {column.description}")
