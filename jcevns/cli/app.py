"""The command line's frame: the group, its help, JAX settings, exit codes."""

import contextlib
import json
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from jcevns.cli.stopping import stop_cleanly
from jcevns.spelling import unknown

__all__ = [
    "ARGUMENTS",
    "Command",
    "Group",
    "cli",
    "echo_status",
    "emit_json",
    "guarded",
    "json_text",
    "main",
    "say",
    "start_jax",
]

ARGUMENTS = "jcevns.arguments"
"""Key of what was written after the name of a command, in the `meta` of its context."""

WELCOME = """\
jcevns: likelihoods for solar 8B CEvNS in xenon detectors. First steps:

  jcevns fit flux --experiments xenonnt-2024-s2                      the 8B flux from XENONnT
  jcevns limit scalar --mass 10 --experiments xenonnt-2024-s2        a limit on a light mediator
  jcevns parameters --experiments xenonnt-2024-s2                    everything that can be fitted, fixed, scanned
  jcevns reproduce                                                   the paper's numbers and figures, one report

jcevns --help lists commands and experiments, jcevns COMMAND --help explains one, jcevns theories what can be tested.
"""

EXAMPLES = """
\b
Examples:
  jcevns fit flux --experiments xenonnt-2024-s2
  jcevns fit sin2w --experiments xenonnt-2024-s2,pandax4t-us2 --json
  jcevns fit sin2w,flux --experiments xenonnt-2024-s2,pandax4t-us2 --constrained flux
  jcevns fit moment --theory magnetic-moment --experiments xenonnt-er-2022
  jcevns limit b-l --mass 1,10,100 --experiments xenonnt-2024-s2
  jcevns limit coupling --theory vector:kappa=-0.333 --over mass=1:100:9 --profile sin2w --experiments xenonnt-2024-s2
  jcevns contour sin2w flux --experiments xenonnt-2024-s2 --constrained flux --out contour
  jcevns scan vector --mass 1e-2:1e4:200 --coupling 1e-7:1e-2:200 --experiments xenonnt-2024-s2 --out v.zarr
  jcevns scan --axis sin2w=0.1:0.4:61 --axis flux=2e6:1e7:41 --experiments pandax4t-us2 --out plane.zarr
  jcevns plot v.zarr
  jcevns posterior --parameters flux,sin2w --experiments xenonnt-2024-s2 --out posterior
  jcevns toys significance --experiments xenonnt-2024 --toys 10000
  jcevns project --experiments xenonnt-2024 --exposure 10:200:5 --out sensitivity
  jcevns spectrum --thresholds 0.5,1.0 --csv spectrum.csv
  jcevns reproduce --out reproduced
"""


def start_jax() -> None:
    """Double precision, and compiled code kept between runs: the second run starts at once."""
    import jax

    from jcevns.compiled import keep_compiled

    jax.config.update("jax_enable_x64", True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keep_compiled()
    for warning in caught:
        say(f"jcevns: {warning.message}; JAX_COMPILATION_CACHE_DIR names another folder")


def say(line: str) -> None:
    """Progress and errors: standard error, so that standard output holds results alone."""
    with contextlib.suppress(OSError):  # a full disk or a closed pipe: the exit code tells
        click.echo(line, err=True)


def echo_status(experiments: Iterable[Any]) -> None:
    """Status of the data a result rests on."""
    for experiment in experiments:
        click.echo(f"{experiment.name}: data {experiment.status.upper()}")


def emit_json(content: Any) -> None:
    """JSON alone on standard output."""
    click.echo(json_text(content))


def json_text(content: Any) -> str:
    """As JSON; a number that is not finite is null."""
    return json.dumps(_plain(content), indent=2, allow_nan=False)


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content


class Command(click.Command):
    """A command that refuses an option given twice, of which click would take the last."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments and options, each once but for those that are lists."""
        ctx.meta[ARGUMENTS] = list(args)
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(list(args))
            counts = Counter(p for p in order if isinstance(p, click.Option) and not p.multiple)
            for option, count in counts.items():
                if count > 1:
                    raise click.UsageError(f"{option.opts[0]} is given {count} times: give it once", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group whose unknown commands suggest the nearest."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command of a name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)), ctx) from None


class _Frame(Group):
    """The whole command line; its help lists the experiments of the catalogue."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, commands, experiments."""
        super().format_options(ctx, formatter)
        from jcevns.experiments.groups import GROUPS
        from jcevns.experiments.names import ENTRIES

        rows = [(name, f"{entry.about} ({entry.status})") for name, entry in ENTRIES.items()]
        rows += [(name, f"{group.about}: {len(group.members)} of the above") for name, group in GROUPS.items()]
        rows.append(("FILE.toml", "an experiment of your own"))
        with formatter.section("Experiments, NAME[:option=value...], several by commas; options: jcevns experiments"):
            formatter.write_dl(rows, col_max=20)


def _print_versions(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    import platform
    from importlib import metadata

    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    shown = ("jax", "jaxlib", "equinox", "numpy", "numpyro", "arviz", "optax", "xarray", "zarr")
    click.echo(f"jcevns {metadata.version('jcevns')}, Python {platform.python_version()}")
    click.echo(", ".join(f"{n} {metadata.version(n) if n in installed else '(not installed)'}" for n in shown))
    context.exit()


def _print_devices(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    import jax

    click.echo(", ".join(map(str, jax.devices())))
    context.exit()


@click.group(
    cls=_Frame,
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions, help="Versions."
)
@click.option(
    "--devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_devices,
    help="Devices that JAX has.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Likelihoods for solar 8B CEvNS in xenon detectors (arXiv:2411.11749 and beyond).

    Every command takes parameters by name: of the theory (sin2w, coupling, ...), of the fluxes (flux.b8, in
    cm^-2 s^-1) and of the experiments; a short name such as flux will do where it means one. `jcevns parameters`
    lists those of your experiments and theory with units and bounds, `jcevns theories` the theories.

    \b
      --theory SPEC      standard-model, vector:kappa=-0.333, scalar+magnetic-moment, spectrum:FILE.csv, or
                         FILE.py:ClassName for a class of your own. THE LAST RUNS THE FILE: it is code, not data.
      --at NAME=VALUE    fixes a parameter; its constraint is off, as for every parameter that is named
      --profile NAME     minimises over a parameter that has no constraint; those that have one always are
      --constrained NAME keeps the constraint of a parameter that is fitted

    Exit code 0: done. 2: bad input, explained in one line. 1: a result was not valid or a file not written.
    """  # noqa: D301
    if context.invoked_subcommand is None:
        click.echo(WELCOME, nl=False)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, names and experiments on the tab key.

    \b
    bash: eval "$(jcevns completion bash)"    in ~/.bashrc
    zsh:  eval "$(jcevns completion zsh)"     in ~/.zshrc
    fish: jcevns completion fish > ~/.config/fish/completions/jcevns.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    found: Any = get_completion_class(shell)
    click.echo(found(cli, {}, "jcevns", "_JCEVNS_COMPLETE").source())


def guarded(run: Callable[[], Any]) -> int:
    """Exit code of a command: bad input is 2 and one line, never a traceback."""
    try:
        return run() or 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "jcevns"
        say(f"{command}: {_line(error.format_message())}")
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("jcevns: stopped; what a store holds is kept, the same command goes on from there")
        return 130
    except MemoryError as error:
        say(f"jcevns: {_line(error) or 'out of memory'}: ask for fewer points, toys or samples")
        return 1
    except (ValueError, ImportError) as error:
        say(f"jcevns: {_line(error)}")
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        bad_path = isinstance(error, FileNotFoundError | FileExistsError | NotADirectoryError | IsADirectoryError)
        remedy = "choose another place" if bad_path else "free some space, or choose another place: --out, --store"
        say(f"jcevns: {_line(f'{where}{error.strerror or error}')}: {remedy}")
        return 2 if bad_path else 1
    except Exception as error:
        if "JCEVNS_TRACEBACK" in os.environ:
            raise
        place = _place_in_theory(error)
        if place is not None:
            say(f"jcevns: {place}: {type(error).__name__}: {_line(error)} (JCEVNS_TRACEBACK=1 shows all)")
            return 2
        if "RESOURCE_EXHAUSTED" in str(error):  # of JAX
            say("jcevns: out of memory: take fewer experiments with shapes at a time, or none by shapes=none")
            return 1
        if isinstance(error, RuntimeError) and type(error).__module__ == "builtins":
            say(f"jcevns: {_line(error)}")
            return 1
        what = f"{type(error).__name__}: {_line(error)}"
        say(f"jcevns: internal error, {what} (JCEVNS_TRACEBACK=1 shows where; please report)")
        return 1


def _line(message: BaseException | str) -> str:
    """The message of an error in one line, without what steers a terminal."""
    text = " ".join(str(message).split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _place_in_theory(error: BaseException) -> str | None:
    """File and line of the user's own class (`--theory FILE.py:ClassName`) that an error comes from."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("_jcevns_theory_"):
            found = f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _told_once(show: Callable[..., None]) -> Callable[..., None]:
    """How warnings are shown, with those of JAX's cache, one for each program, in one line."""
    told: list[str] = []

    def shown(message: Warning | str, *rest: Any, **more: Any) -> None:
        if "persistent compilation cache" not in str(message):
            show(message, *rest, **more)
        elif not told:
            told.append(str(message))
            import jax

            folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
            say(
                f"jcevns: compiled code in {folder} is damaged or cannot be kept, it is made again: delete the folder"
            )

    return shown


def main() -> None:
    """Entry point of the `jcevns` command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")  # names of users, where the locale has no letters
    stop_cleanly()
    warnings.showwarning = _told_once(warnings.showwarning)
    sys.exit(guarded(lambda: cli(standalone_mode=False)))
