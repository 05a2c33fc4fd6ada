"""Commands of the Standard Model: reproduce, fit, spectrum, data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jcevns.cli.app import chosen_from, cli, emit_json, experiments_option, load, names, numbers, say, start_jax
from jcevns.spelling import unknown

FITTED = "{flux,sin2w,magnetic-moment,strength}"
FLUX_UNIT = "1e6 cm^-2 s^-1"


@cli.command(short_help="Reproduce the paper's numbers and figures.")
@click.option(
    "--out", default="reproduced", show_default=True, type=click.Path(path_type=Path), help="Result folder."
)
@click.option("--only", callback=names, metavar="NAME,...", help="Run only these steps (see above).")
@click.option("--full", is_flag=True, help="Also the long steps; their results are kept between runs.")
def reproduce(out: Path, only: list[str], full: bool) -> None:
    """Reproduce the paper: eqs. 18-23, Figs. 1 to 5, rates, limits, systematics.

    Writes summary.json, report.html (self-contained), figures (PNG, PDF) and tables (CSV) to the folder.

    \b
    Steps: flux, sin2w, rates, fig1, fig2, fig3, fig4, fig5, limits, systematics, posteriors, official;
    with --full also sampled-posteriors, official-limits, official-toys, projections, systematics-grid.
    """  # noqa: D301
    start_jax()
    from jcevns.report.reproduce import reproduce as run

    summary = run(out, only, full, say)
    rows = summary["comparison"]
    if rows:
        click.echo(_comparison_table(rows))
    click.echo(
        f"report: {out / 'report.html'}   numbers: {out / 'summary.json'}   ({summary['seconds']['total']:.1f} s)"
    )
    click.echo("PandaX-4T bins are a reconstruction; agreement is partly by construction: see the report.")


def _comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'eq.':4} {'quantity':9} {'data':9} {'paper':>22} {'ours':>24}  verdict"]
    for row in rows:
        scale, digits = (1e6, 2) if row["quantity"] == "flux" else (1.0, 3)
        texts = []
        for side in ("paper", "ours"):
            n = row[side]
            up = "open" if n["error_up"] is None else f"+{n['error_up'] / scale:.{digits}f}"
            down = "open" if n["error_down"] is None else f"-{n['error_down'] / scale:.{digits}f}"
            texts.append(f"{n['value'] / scale:.{digits}f} {up} {down}")
        head = f"{row['equation']:4} {row['quantity']:9} {row['dataset']:9}"
        lines.append(f"{head} {texts[0]:>22} {texts[1]:>24}  {row['verdict']}")
    return "\n".join([*lines, f"(flux in {FLUX_UNIT}; errors: Delta chi2 = 1)"])


@cli.command()
@click.argument("parameter", metavar=FITTED, shell_complete=chosen_from(FITTED))
@experiments_option
@click.option("--shape", default=None, help="8B shape for all experiments: bahcall1996 (default) or winter2006.")
@click.option("--flux-pull/--no-flux-pull", default=None, help="12% pull on the 8B flux (off for flux, else on).")
@click.option("--spectrum", type=click.Path(path_type=Path), help="CSV of your own dR/dT, for strength (see above).")
@click.option("--b8", default="background", show_default=True, help="8B neutrinos beside it: background or none.")
@click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output.")
def fit(
    parameter: str,
    experiments: list[str],
    shape: str | None,
    flux_pull: bool | None,
    spectrum: Path | None,
    b8: str,
    as_json: bool,
) -> None:
    """Fit the 8B flux, sin^2(theta_W), a magnetic moment or the strength of a signal of your own.

    Prints best fit, 68% and 90% intervals, significance, pulls. For `strength` give --spectrum FILE.csv with the
    columns recoil_keV and events_per_tonne_year_keV, full efficiency, as `jcevns spectrum --csv` writes it.

    \b
    JSON keys: parameter, unit, experiments, best_fit, interval_68, interval_90 ([lower, upper]; null = open),
    chi2_min, significance (null for sin2w), valid, edm, pulls (in sigma), flux_pull, data_status, note.
    """  # noqa: D301
    start_jax()
    from jcevns.inference.intervals import estimate, measure
    from jcevns.report.tables import estimate_json

    options = {} if shape is None else {"shape": shape}
    if parameter == "strength":
        result = estimate(*strength(experiments, spectrum, b8, **options))
    else:
        if parameter not in FITTED.strip("{}").split(","):
            raise ValueError(unknown("parameter", parameter, FITTED.strip("{}").split(",")))
        if spectrum is not None:
            raise ValueError("--spectrum belongs to `fit strength`")
        result = measure(parameter, load(experiments, **options), flux_pull)
    if as_json:
        emit_json(estimate_json(result))
    else:
        click.echo(_estimate_table(result))
    if not result.valid:
        raise RuntimeError(f"the fit is not valid (EDM {result.edm:.1e}): do not use the numbers above")


def strength(experiments: list[str], spectrum: Path | None, b8: str, **options: Any) -> tuple[Any, Any]:
    """Likelihood and parameter for the strength of a tabulated recoil spectrum."""
    from jcevns.experiments.experiment import b8_as_background
    from jcevns.inference.parameters import signal_strength
    from jcevns.likelihood.joint import Likelihood
    from jcevns.physics.recoil import load_spectrum

    if spectrum is None:
        raise ValueError("a strength needs --spectrum FILE.csv with recoil_keV and events_per_tonne_year_keV")
    if b8 not in ("background", "none"):
        raise ValueError(f"--b8 {b8!r}: choose background or none")
    built = load(experiments, **options)
    likelihood = Likelihood([b8_as_background(e) for e in built] if b8 == "background" else built, b8 == "background")
    return likelihood, signal_strength(likelihood, load_spectrum(spectrum))


def _estimate_table(result: Any) -> str:
    million = result.unit == FLUX_UNIT.removeprefix("1e6 ")
    scale, unit, digits = (1e6, f" {FLUX_UNIT}", 3) if million else (1.0, f" {result.unit}".rstrip(), 4)

    def ends(interval: Any) -> str:
        low, high = (
            f"open ({why})" if end is None else f"{end / scale:.{digits}f}"
            for end, why in ((interval.lower, "bound reached"), (interval.upper, "not found"))
        )
        return f"[{low}, {high}]{unit}   Delta chi2 = {interval.threshold:.3f}"

    lines = [
        f"{result.parameter}, {' + '.join(result.experiments)}, flux pull {'on' if result.flux_pull else 'off'}",
        f"  best fit      {result.best_fit / scale:.{digits}f}{unit}",
        f"  68% interval  {ends(result.interval_68)}",
        f"  90% interval  {ends(result.interval_90)}",
        f"  chi2 min      {result.chi2_min:.4f}   valid: {'yes' if result.valid else 'NO'} (EDM {result.edm:.1e})",
    ]
    if result.significance is not None:
        lines.append(f"  significance  {result.significance:.2f} sigma (asymptotic)")
    lines.append("  pulls [sigma]")
    lines += [f"    {name:32} {pull:+.3f}" for name, pull in result.pulls.items()]
    lines += [f"  note: {result.note}"] if result.note else []
    for name, status in result.data_status.items():
        lines.append(f"  {name}: data {status['status'].upper()}")
        lines += [f"    {note}" for note in status["notes"]]
    return "\n".join(lines)


@cli.command()
@click.option("--thresholds", default="0.3,0.5,0.7,1.0,1.1,2.0,3.0", show_default=True, callback=numbers, help="keV.")
@click.option("--shape", default="bahcall1996", show_default=True, help="bahcall1996 or winter2006.")
@click.option("--sin2w", type=float, default=None, help="sin^2(theta_W).  [default: 0.23857]")
@click.option("--flux", type=float, default=None, help="Total 8B flux in cm^-2 s^-1.  [default: 5.46e6]")
@click.option("--form-factor", default="klein-nystrand", show_default=True, help="klein-nystrand, helm or fermi.")
@click.option("--hep", is_flag=True, help="Add hep neutrinos (7.98e3 cm^-2 s^-1).")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write dR/dT to this file ('-': print it).")
@click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output.")
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
    """
    start_jax()
    from jcevns.report.spectrum import FORM_FACTORS, spectrum_counts

    if form_factor not in FORM_FACTORS:
        raise ValueError(unknown("form factor", form_factor, FORM_FACTORS))
    result = spectrum_counts(thresholds, shape, sin2w, flux, form_factor, hep)
    rows = zip(result["spectrum"]["recoil_keV"], result["spectrum"]["events_per_tonne_year_keV"], strict=True)
    if csv_path is not None:
        text = "recoil_keV,events_per_tonne_year_keV\n" + "".join(f"{t:.10g},{r:.10g}\n" for t, r in rows)
        if str(csv_path) == "-":
            click.echo(text, nl=False)
            return
        from jcevns.report.tables import write_text

        write_text(csv_path, text)
    if as_json:
        emit_json(result)
        return
    click.echo(f"8B ({shape}), flux {result['b8_flux']:.4g} cm^-2 s^-1, sin2w {result['sin2w']:.5g}, {form_factor}")
    click.echo("threshold [keV]   events per tonne-year")
    for row in result["counts"]:
        click.echo(f"{row['threshold_keV']:15g}   {row['events_per_tonne_year']:.6g}")


@cli.group(invoke_without_command=True)
@click.pass_context
def data(context: click.Context) -> None:
    """List the shipped tables with their status; `show NAME` prints a card."""
    if context.invoked_subcommand is not None:
        return
    from jcevns import datasets

    for card in datasets.cards().values():
        click.echo(f"{card.name:28} {card.status:14} {card.title}")


@data.command()
@click.argument("name")
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
