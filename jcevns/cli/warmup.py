"""The command that fills the folder of compiled programs."""

import time

import click

from jcevns.cli.app import cli, say, start_jax
from jcevns.cli.building import Asked
from jcevns.cli.options import model_options, names, parameter_names


@cli.command()
@click.argument("parameters", metavar="[NAME,...]", required=False, callback=names, shell_complete=parameter_names())
@model_options("at")
def warmup(parameters: list[str], asked: Asked) -> None:
    """Compile what fits of these experiments take: fits, intervals, limits and scans then start at once.

    Fits each of the parameters named, or of the fluxes and the theory's own, and keeps the programs, by default in
    ~/.cache/jcevns (JAX_COMPILATION_CACHE_DIR names another folder). For containers, and before many jobs of an
    array that share a folder.

    \b
    jcevns warmup --experiments xenonnt-2024-s2,pandax4t-us2
    jcevns warmup coupling --theory vector --at mass=10 --experiments coherent-csi-2021
    """  # noqa: D301
    start_jax()
    from jcevns.compiled import kept_programs
    from jcevns.fit.fit import fit

    likelihood = asked.likelihood()
    records = likelihood.parameters.values()
    own = [r.name for r in records if r.kind not in ("normalisation", "shape") and r.name not in asked.at]
    wanted = asked.names(likelihood, parameters) if parameters else own
    for name in wanted:
        before = time.perf_counter()
        try:
            fit(likelihood, name, asked.at)
        except ValueError as error:
            if parameters:
                raise
            say(f"{name}: left out, {error}")
        else:
            say(f"{name}: {time.perf_counter() - before:.1f} s")
    kept = kept_programs()
    if not kept:
        raise RuntimeError("no program was kept: see the lines above")
    size = sum(path.stat().st_size for path in kept)
    click.echo(f"{len(kept)} programs, {size / 1e6:.1f} MB in {kept[0].parent}")
