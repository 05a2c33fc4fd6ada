"""Commands that say what there is: theories, experiments, parameters."""

from collections.abc import Mapping
from typing import Any

import click

from jcevns.cli.app import cli, emit_json, start_jax
from jcevns.cli.building import Asked
from jcevns.cli.options import json_option, model_options
from jcevns.cli.shipped import shipped


def plain_record(record: Any) -> dict[str, Any]:
    """A parameter as JSON."""
    keys = ("name", "default", "unit", "lower", "upper", "sigma", "prior", "null", "kind", "note")
    return {key: getattr(record, key) for key in keys}


def _written(value: Any) -> str:
    """A setting as on the command line."""
    if isinstance(value, str):
        return value
    return ",".join(f"{v:.4g}" for v in value) if isinstance(value, list) else f"{value:.4g}"


@cli.command()
@json_option
def theories(as_json: bool) -> None:
    """List the theories with their parameters, units, bounds and options.

    A theory is written NAME[:option=value...], several joined by +; the Standard Model is counted once, and what
    shifts the same charge interferes.

    \b
    jcevns fit coupling --theory vector:kappa=-0.333:flavours=0,1,-1 --at mass=10 --experiments coherent-csi-2021
    jcevns fit moment,coupling --theory scalar+magnetic-moment --at mass=1 --experiments xenonnt-er-2022
    jcevns fit eps_ee --theory mine.py:NSI --experiments coherent-csi-2021

    The last RUNS mine.py and takes the class NSI from it: it is code, give only files that you trust.
    """  # noqa: D301
    found = shipped()["theories"]
    if as_json:
        emit_json([{key: value for key, value in entry.items() if key != "table"} for entry in found])
        return
    for entry in found:
        settings = "".join(f":{key}={_written(value)}" for key, value in entry["settings"].items())
        click.echo(f"{entry['name']}{f'   (with {settings[1:]})' if settings else ''}")
        click.echo(f"  {entry['about']}")
        for line in entry["table"]:
            click.echo(f"    {line}")
        click.echo(f"    options: {', '.join(entry['options'])}")
    click.echo("spectrum:FILE.csv\n  A recoil spectrum of your own, columns recoil_keV and events_per_tonne_year_keV")
    click.echo("FILE.py:ClassName\n  A class of your own (jcevns.Interaction); this RUNS the file")
    click.echo(f"All but spectrum have the parameters of {found[0]['name']} too.")
    click.echo(
        f"form_factor={'|'.join(shipped()['form_factors'])}; up, down, R_n, R_p are parameters where they are given."
    )


@cli.command()
@json_option
def experiments(as_json: bool) -> None:
    """List the experiments with fluxes, status of the data, bins, events and options.

    An option is written after the name, as in pandax4t-us2:table=T3. `jcevns parameters --experiments NAME` lists
    the parameters of one or several, with units and bounds.
    """
    from jcevns.experiments.groups import GROUPS

    found = shipped()["experiments"]
    if as_json:
        emit_json(found)
        return
    for entry in found:
        click.echo(f"{entry['name']:18} {entry['about']}")
        data = f"{entry['status'].upper()}, {entry['bins']} bins, {entry['events']:.0f} events"
        click.echo(f"{'':18}   {', '.join(entry['fluxes'])}; data {data}")
        if entry["options"]:
            click.echo(f"{'':18}   " + "   ".join(f"{key}={value}" for key, value in entry["options"].items()))
    for name, group in GROUPS.items():
        click.echo(f"{name:18} {group.about}: {', '.join(group.members)}")
        for other, why in group.left_out.items():
            click.echo(f"{'':18}   without {other}: it {why}")
    click.echo(f"{'FILE.toml':18} an experiment of your own")


@cli.command()
@model_options()
@json_option
def parameters(asked: Asked, as_json: bool) -> None:
    """List all parameters of experiments and a theory: default, constraint, bounds, unit.

    What has a constraint is profiled unless it is named; the others are fixed at their defaults unless they are
    named. A short name will do where it means one parameter.

    \b
    jcevns parameters --experiments xenonnt-2024-s2,pandax4t-us2
    jcevns parameters --experiments coherent-csi-2021 --theory vector:kappa=-0.333
    """  # noqa: D301
    start_jax()
    found: Mapping[str, Any] = asked.likelihood().parameters
    if as_json:
        emit_json([plain_record(record) for record in found.values()])
        return
    click.echo(str(found))
    for record in found.values():
        if record.note:
            click.echo(f"  {record.name}: {record.note}")
