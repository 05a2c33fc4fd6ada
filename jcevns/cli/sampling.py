"""Command of the posteriors."""

import dataclasses
import sys
from pathlib import Path

import click

from jcevns.cli.app import cli, echo_status, emit_json, say, start_jax
from jcevns.cli.building import Asked
from jcevns.cli.options import (
    json_option,
    measured,
    model_options,
    names_option,
    out_option,
    prior_option,
    refused,
)

SAMPLERS = ("nuts", "independence")


@cli.command()
@names_option(
    "Sampled; short names will do.", "--parameters", default=measured, show_default="the flux", metavar="NAME,..."
)
@model_options("at")
@prior_option
@click.option("--chains", default=4, show_default=True, type=click.IntRange(2), help="Chains.")
@click.option("--samples", default=2000, show_default=True, type=click.IntRange(100), help="Samples per chain.")
@click.option(
    "--method",
    default="nuts",
    show_default=True,
    type=click.Choice(SAMPLERS),
    help="independence: up to three parameters, in seconds, with the evidence.",
)
@click.option("--warmup", type=click.IntRange(100), help="Warm-up steps of nuts per chain.  [default: 1000]")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same samples.")
@click.option(
    "--target-accept", type=float, help="Against divergences.  [default: 0.95, with a log-uniform prior 0.99]"
)
@click.option("--evidence", is_flag=True, help="The logarithm of the evidence beside the posterior.")
@out_option("Folder for samples.nc, summary.json and figures.")
@json_option
@refused("--interaction", "write --theory NAME, as in --theory scalar")
@refused("--mass", "write --at mass=10, or sample it: --parameters coupling,mass")
def posterior(
    parameters: list[str],
    asked: Asked,
    priors: dict[str, str],
    chains: int,
    samples: int,
    method: str,
    warmup: int | None,
    seed: int,
    target_accept: float | None,
    evidence: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sample a Bayesian posterior of any parameters.

    With NUTS, or, for up to three parameters, by independent draws from Laplace's method, accepted as Metropolis and
    Hastings say: the same posterior in a fraction of the time, with the evidence.

    \b
    Priors: uniform:LOW:HIGH, log-uniform:LOW:HIGH, normal:MEAN:SD, truncated:MEAN:SD:LOW:HIGH.
    Defaults are those of the parameters (jcevns parameters --json): flux.b8 uniform 0..4e7 alone, its 12% normal
    beside others; sin2w uniform from the mirror point; couplings and masses log-uniform. A parameter of your own
    declares one, or takes --prior.

    \b
    jcevns posterior --parameters flux,sin2w --experiments xenonnt-2024-s2 --out posterior
    jcevns posterior --parameters coupling --theory scalar --at mass=10 --experiments xenonnt-2024-s2
    jcevns posterior --parameters coupling,mass --theory scalar --method independence --experiments xenonnt-2024-s2
    jcevns posterior --parameters sin2w --prior sin2w=normal:0.2386:0.01 --experiments pandax4t-us2

    \b
    JSON: by parameter mean, sd, median, hdi_68, hdi_90, segments_68, segments_90 (several modes: several ranges),
    r_hat, ess_bulk, ess_tail; then divergences, seconds, settings (of independence with log_evidence and its error);
    with --evidence log_evidence, its error, effective draws.
    Exit code 1 if the diagnostics object (divergences, R-hat >= 1.01, too few effective samples, Pareto k > 0.7).
    """  # noqa: D301
    if not parameters:
        raise click.BadParameter("the list is empty: write --parameters sin2w")
    start_jax()
    from jcevns.plot.posterior import write_posterior
    from jcevns.statistics.priors import parse_prior
    from jcevns.statistics.sample import sample

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is known before the sampling
    chosen = {name: parse_prior(text) for name, text in priors.items()}
    likelihood = asked.likelihood()
    free = asked.names(likelihood, parameters)
    stray = [name for name in asked.names(likelihood, chosen) if name not in free]
    if stray:
        raise ValueError(f"--prior {stray[0]}: it is not sampled, name it in --parameters")
    result = sample(
        likelihood,
        free,
        priors=chosen,
        at=asked.at,
        chains=chains,
        samples=samples,
        warmup=warmup,
        seed=seed,
        method=method,
        target_accept=target_accept,
        progress=sys.stderr.isatty(),
    )
    if out is not None:
        say("written: " + ", ".join(map(str, write_posterior(result, likelihood, out))))
    integral = None
    if evidence:
        from jcevns.statistics.evidence import evidence as integrate

        integral = integrate(likelihood, free, chosen, asked.at, seed=seed)
    if as_json:
        beside = {} if integral is None else {"evidence": dataclasses.asdict(integral)}
        emit_json(result.to_dict() | beside)
    else:
        click.echo(f"posterior, {' + '.join(likelihood.names)}, {chains} x {samples} samples, {result.seconds:.1f} s")
        for name, found in result.parameters.items():
            click.echo(f"  {name} {f'[{found.unit}]' if found.unit else ''}  prior {found.prior}")
            click.echo(f"    median {found.median:.4g}   mean {found.mean:.4g} +- {found.sd:.3g}")
            central = (found.quantiles_68,)
            regions = {"68% central": central, "68% HDI": found.segments_68, "90% HDI": found.segments_90}
            for label, pairs in regions.items():
                click.echo(f"    {label} " + " and ".join(f"[{low:.4g}, {high:.4g}]" for low, high in pairs))
            click.echo(f"    R-hat {found.r_hat:.4f}   ESS bulk {found.ess_bulk:.0f}, tail {found.ess_tail:.0f}")
        if "log_evidence" in result.settings:
            text = "{log_evidence:.4f} +- {log_evidence_error:.2g}   Pareto k {pareto_k:.2f}"
            click.echo("  ln evidence " + text.format(**result.settings))
        click.echo(f"  divergences {result.divergences}")
        if integral is not None:
            text = f"{integral.log_evidence:.4f} +- {integral.error:.2g} ({integral.effective:.0f} effective draws)"
            click.echo(f"  ln evidence {text}")
        echo_status(likelihood.experiments)
    result.check()
