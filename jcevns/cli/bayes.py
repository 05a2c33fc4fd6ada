"""Command of the posteriors."""

import sys
from pathlib import Path

import click

from jcevns.cli.app import cli, echo_status, emit_json, experiments_option, load, names, say, start_jax


def _priors(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = [key for key, separator, _ in pairs if not separator]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r}: write NAME=PRIOR, as in flux=uniform:0:4e7")
    return {key: value for key, _, value in pairs}


@cli.command()
@click.option(
    "--parameters", default="flux", show_default=True, callback=names, help="Of flux, sin2w, mass, coupling."
)
@experiments_option
@click.option("--interaction", help="scalar, vector, b-l, axial or tensor, for a coupling.")
@click.option("--mass", type=float, help="Mediator mass in MeV, if it is not sampled.")
@click.option(
    "--prior", "priors", multiple=True, callback=_priors, metavar="NAME=PRIOR", help="See above; repeatable."
)
@click.option("--chains", default=4, show_default=True, type=click.IntRange(2), help="Chains.")
@click.option("--samples", default=2000, show_default=True, type=click.IntRange(100), help="Samples per chain.")
@click.option("--warmup", default=1000, show_default=True, type=click.IntRange(100), help="Warm-up steps per chain.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same samples.")
@click.option("--target-accept", type=float, help="Against divergences.  [default: 0.95, with a coupling 0.99]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for samples.nc, summary.json and figures.")
@click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output.")
def posterior(
    parameters: list[str],
    experiments: list[str],
    interaction: str | None,
    mass: float | None,
    priors: dict[str, str],
    chains: int,
    samples: int,
    warmup: int,
    seed: int,
    target_accept: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sample a Bayesian posterior with NUTS.

    \b
    Priors: uniform:LOW:HIGH, log-uniform:LOW:HIGH, normal:MEAN:SD, truncated:MEAN:SD:LOW:HIGH.
    Defaults: flux uniform 0..4e7 alone, 12% solar-model normal with others; sin2w uniform from the mirror
    point; coupling log-uniform 1e-7..1e-2; mass log-uniform 1e-2..1e4 MeV.

    \b
    JSON: by parameter mean, sd, median, hdi_68, hdi_90, r_hat, ess_bulk, ess_tail; then divergences, seconds.
    Exit code 1 if the diagnostics object (divergences, R-hat >= 1.01, too few effective samples).
    """  # noqa: D301
    start_jax()
    from jcevns.inference.posterior import sample
    from jcevns.inference.priors import parse_prior
    from jcevns.likelihood.joint import Likelihood
    from jcevns.report.posterior import posterior_json, write_posterior

    chosen = {name: parse_prior(text) for name, text in priors.items()}
    likelihood = Likelihood(load(experiments), flux_pull="flux" not in parameters)
    result = sample(
        likelihood,
        parameters,
        chosen,
        interaction,
        mass,
        chains,
        samples,
        warmup,
        seed,
        target_accept,
        progress=sys.stderr.isatty(),
    )
    if out is not None:
        say("written: " + ", ".join(map(str, write_posterior(result, likelihood, out))))
    if as_json:
        emit_json(posterior_json(result))
    else:
        click.echo(f"posterior, {' + '.join(likelihood.names)}, {chains} x {samples} samples, {result.seconds:.1f} s")
        for name, found in result.parameters.items():
            click.echo(f"  {name} {f'[{found.unit}]' if found.unit else ''}  prior {found.prior}")
            click.echo(f"    median {found.median:.4g}   mean {found.mean:.4g} +- {found.sd:.3g}")
            intervals = {"68% central": found.quantiles_68, "68% HDI": found.hdi_68, "90% HDI": found.hdi_90}
            for label, pair in intervals.items():
                click.echo(f"    {label} [{pair[0]:.4g}, {pair[1]:.4g}]")
            click.echo(f"    R-hat {found.r_hat:.4f}   ESS bulk {found.ess_bulk:.0f}, tail {found.ess_tail:.0f}")
        click.echo(f"  divergences {result.divergences}")
        echo_status(likelihood.experiments)
    result.check()
