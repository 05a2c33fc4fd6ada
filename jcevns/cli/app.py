"""The command line's frame: the group, JAX settings, reading of options, exit codes."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from jcevns.spelling import unknown

__all__ = [
    "chosen_from",
    "cli",
    "echo_status",
    "emit_json",
    "experiments_option",
    "guarded",
    "load",
    "main",
    "names",
    "numbers",
    "say",
    "start_jax",
    "values",
]

WELCOME = """\
jcevns: likelihoods for solar 8B CEvNS in xenon detectors. First steps:

  jcevns fit flux --experiments xenonnt-2024-s2                      the 8B flux from XENONnT
  jcevns limit scalar --mass 10 --experiments xenonnt-2024-s2        a limit on a light mediator
  jcevns posterior --experiments xenonnt-2024-s2 --out posterior     the same flux, Bayesian
  jcevns reproduce                                                   the paper's numbers and figures, one report

jcevns --help lists commands and experiments, jcevns COMMAND --help explains one, jcevns data lists the tables.
"""

EXAMPLES = """
\b
Examples:
  jcevns fit flux --experiments xenonnt-2024-s2
  jcevns fit sin2w --experiments xenonnt-2024-s2,pandax4t-us2 --json
  jcevns fit flux --experiments pandax4t-us2:table=T3
  jcevns fit sin2w --experiments xenonnt-2024-s2,coherent-csi-2021,coherent-lar-2020
  jcevns fit magnetic-moment --experiments xenonnt-er-2022
  jcevns spectrum --thresholds 0.5,1.0 --csv spectrum.csv
  jcevns limit b-l --mass 1,10,100 --experiments xenonnt-2024-s2
  jcevns limit vector --mass 10 --flavours 0,1,-1 --experiments coherent-csi-2021:shapes=none
  jcevns scan vector --mass 1e-2:1e4:200 --coupling 1e-7:1e-2:200 --experiments xenonnt-2024-s2 --out v.zarr
  jcevns plot v.zarr
  jcevns fit flux --experiments xenonnt-2024
  jcevns limit strength --spectrum mine.csv --experiments xenonnt-2024
  jcevns posterior --parameters flux,sin2w --experiments xenonnt-2024-s2 --out posterior
  jcevns toys significance --experiments xenonnt-2024 --toys 10000
  jcevns project --experiments xenonnt-2024 --exposure 10:200:5 --out sensitivity
  jcevns reproduce --out reproduced
  jcevns data show pandax4t_us2_bins
"""


def start_jax() -> None:
    """Double precision, and compiled code kept between runs: the second run starts at once."""
    import jax

    jax.config.update("jax_enable_x64", True)
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jcevns" / "jax"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(default))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def say(line: str) -> None:
    """Progress and errors: standard error, so that standard output holds results alone."""
    click.echo(line, err=True)


def echo_status(experiments: Iterable[Any]) -> None:
    """Status of the data a result rests on."""
    for experiment in experiments:
        click.echo(f"{experiment.name}: data {experiment.status.upper()}")


def emit_json(content: Any) -> None:
    """JSON alone on standard output; NaN is refused."""
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def numbers(context: click.Context, option: click.Parameter, text: str) -> list[float]:
    """Comma-separated numbers of an option."""
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers: write 0.5,1.0") from None
    if not values:
        raise click.BadParameter("the list is empty: write 0.5,1.0")
    return values


def names(context: click.Context, option: click.Parameter, text: str | None) -> list[str]:
    """Comma-separated names of an option."""
    return [] if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _complete_experiments(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    from jcevns.experiments.catalogue import EXPERIMENTS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in EXPERIMENTS if name.startswith(last)]


def chosen_from(known: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion from a metavar like `{flux,sin2w}`."""
    every = known.strip("{}").split(",")
    return lambda context, option, incomplete: [name for name in every if name.startswith(incomplete)]


experiments_option = click.option(
    "--experiments",
    required=True,
    callback=names,
    shell_complete=_complete_experiments,
    metavar="A[,B...]",
    help="See jcevns --help.",
)
"""Option of every command that takes experiments."""


def _print_versions(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    import platform
    from importlib import metadata

    import jax

    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    shown = ("jax", "jaxlib", "equinox", "numpy", "numpyro", "arviz", "optax", "xarray", "zarr")
    click.echo(f"jcevns {metadata.version('jcevns')}, Python {platform.python_version()}")
    click.echo(", ".join(f"{n} {metadata.version(n) if n in installed else '(not installed)'}" for n in shown))
    click.echo(f"devices: {', '.join(map(str, jax.devices()))}")
    context.exit()


def load(texts: list[str], **options: Any) -> list[Any]:
    """Experiments named on the command line, with options for all of them."""
    from jcevns.experiments.catalogue import parse_experiment

    if not texts:
        raise ValueError("--experiments is empty: name one or more, see jcevns --help")
    return [parse_experiment(text, **options) for text in texts]


def values(context: click.Context, option: click.Parameter, text: str | None) -> list[float]:
    """Values of an axis: `1,10,100`, or `lo:hi:n` for n values evenly spaced in the logarithm."""
    if text is None:
        return []
    if ":" not in text:
        return numbers(context, option, text)
    try:
        low, high, count = text.split(":")
        low, high, count = float(low), float(high), int(count)
    except ValueError:
        raise click.BadParameter(f"{text!r}: write lo:hi:n, as in 1e-3:1e5:200, or a list 1,10,100") from None
    if not (0 < low < high < float("inf")) or count < 2:
        raise click.BadParameter(f"{text!r}: needs 0 < lo < hi and n of 2 or more")
    step = (high / low) ** (1 / (count - 1))
    return [low * step**i for i in range(count - 1)] + [high]


class _Group(click.Group):
    """A group whose unknown commands suggest the nearest."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)), ctx) from None


@click.group(
    cls=_Group,
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions, help="Versions, devices."
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Likelihoods for solar 8B CEvNS in xenon detectors (arXiv:2411.11749 and beyond).

    Experiments are written NAME[:option=value...], several separated by commas:

    \b
      xenonnt-2024      XENONnT SR0+SR1, its own 4-d likelihood, 2 x 81 bins, 37 events (published)
          shape=...   template=folded|released
      xenonnt-2026      XENONnT SR0+SR1+SR2, 3 x 81 bins, 62 events (published; some widths ASSUMED)
          shape=...   accidental_sr2=0.05   efficiency=0.25
      xenonnt-2024-s2   XENONnT SR0+SR1, 3 cS2 bins, 37 events (published)
          response=released|unsmeared   shape=bahcall1996|winter2006   correction=best-fit|template|none
      pandax4t-us2      PandaX-4T US2, 8 bins, 332 events (bins RECONSTRUCTED from published totals)
          table=T0..T4 or a CSV file   shape=...   field=V/cm
      coherent-csi-2021, coherent-lar-2020   CEvNS at the SNS, 99 and 960 bins (published)
          shapes=all|none (faster)   CsI: steady_state=product|counts   LAr: correction=release|none
      xenonnt-er-2022, lz-er-ws2022, lz-er-ws2024   electron recoils of solar neutrinos (LZ: background DIGITISED)
          binding=steps|rrpa|free   background_error=...   XENONnT: bin_keV=1
      pandax4t-er-run1  the same, INCOMPLETE: exposure=1.00 tonne-year is not published with it
      texono-2010       reactor antineutrinos on electrons, by rate alone (published)
      FILE.toml         an experiment of your own

    Exit code 0: done. 2: bad input, explained in one line. 1: a result was not valid or a file not written.
    """  # noqa: D301
    if context.invoked_subcommand is None:
        click.echo(WELCOME, nl=False)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands, options and experiments on the tab key.

    \b
    bash: eval "$(jcevns completion bash)"    in ~/.bashrc
    zsh:  eval "$(jcevns completion zsh)"     in ~/.zshrc
    fish: jcevns completion fish > ~/.config/fish/completions/jcevns.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "jcevns", "_JCEVNS_COMPLETE").source())


def guarded(run: Callable[[], Any]) -> int:
    """Exit code of a command: bad input is 2 and one line, never a traceback."""
    try:
        return run() or 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "jcevns"
        say(f"{command}: {error.format_message()}")
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("jcevns: stopped")
        return 130
    except (ValueError, ImportError) as error:
        say(f"jcevns: {error}")
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"jcevns: {where}{error.strerror or error}: choose another place with --out, or free some space")
        return 1
    except RuntimeError as error:
        say(f"jcevns: {error}")
        return 1
    except Exception as error:
        if "JCEVNS_TRACEBACK" in os.environ:
            raise
        say(
            f"jcevns: internal error, {type(error).__name__}: {error} (JCEVNS_TRACEBACK=1 shows where; please report)"
        )
        return 1


def main() -> None:
    """Entry point of the `jcevns` command."""
    sys.exit(guarded(lambda: cli(standalone_mode=False)))
