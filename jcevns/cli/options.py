"""Options that commands share: how they are read, completed, and refused where they are not used."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from jcevns.cli.building import Asked, Axis
from jcevns.cli.shipped import declared_names, shipped, theory_names
from jcevns.spelling import number, whole

__all__ = [
    "axes_option",
    "bar",
    "charges",
    "csv_option",
    "experiments",
    "given",
    "json_option",
    "measured",
    "model_options",
    "names",
    "names_option",
    "numbers",
    "out_option",
    "parameter_names",
    "prior_option",
    "refuse",
    "refused",
    "shard",
    "short_axis",
    "spaced",
    "values",
    "window_option",
]

_LONGEST = 1_000_000  # values of an axis


def measured() -> str:
    """Parameter of commands that are given none: short for the flux of experiments that have one."""
    return shipped()["measured"]


def numbers(context: click.Context, option: click.Parameter, text: str) -> list[float]:
    """Comma-separated numbers of an option."""
    return _numbers(text)


def _numbers(text: str) -> list[float]:
    try:
        found = [number(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers: write 0.5,1.0") from None
    if not found:
        raise click.BadParameter("the list is empty: write 0.5,1.0")
    return found


def names(context: click.Context, option: click.Parameter, text: Any) -> list[str]:
    """Comma-separated names of an option, or of an option that may be repeated."""
    texts = [] if text is None else [text] if isinstance(text, str) else list(text)
    return [part.strip() for one in texts for part in one.split(",") if part.strip()]


def experiments(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Comma-separated experiments of an option; paths may hold commas."""
    from jcevns.experiments.names import check_known, listed

    found = listed(text)
    if not found:
        raise click.BadParameter("--experiments is empty: name one or more, see jcevns --help")
    try:
        check_known(found)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return found


def charges(context: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Three charges, of the flavours."""
    if text is None:
        return None
    try:
        found = tuple(number(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 3:
        raise click.BadParameter(f"{text!r}: write the charges of nu_e, nu_mu, nu_tau, as in 0,1,-1")
    return found


def shard(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Part i of n, from `i/n`."""
    if text is None:
        return None
    try:
        i, n = (whole(part) for part in text.split("/"))
    except ValueError:
        raise click.BadParameter(f"{text!r}: write i/n, as in 1/8") from None
    if not 1 <= i <= n:
        raise click.BadParameter(f"{text!r}: i runs from 1 to n")
    return i, n


def spaced(name: str, text: str) -> Axis:
    """An axis from `1,10,100` or `lo:hi:n[:lin|:log]`."""
    if ":" not in text:
        return Axis(name, tuple(_numbers(text)))
    parts = text.split(":")
    spacing = parts.pop() if parts[-1] in ("lin", "log") else ""
    try:
        low, high, count = parts
        axis = Axis(name, (), number(low), number(high), whole(count), spacing)
    except ValueError:
        form = "lo:hi:n, lo:hi:n:lin or lo:hi:n:log, as in 1e-3:1e5:200, or a list 1,10,100"
        raise click.BadParameter(f"{text!r}: write {form}") from None
    if not (-math.inf < axis.low < axis.high < math.inf) or axis.size < 2:
        raise click.BadParameter(f"{text!r}: needs lo < hi, 0 < lo < hi in the logarithm, and n of 2 or more")
    if axis.size > _LONGEST:
        raise click.BadParameter(f"{text!r}: {axis.size} values are too many, {_LONGEST} at most")
    return axis


def values(context: click.Context, option: click.Parameter, text: str | None) -> list[float]:
    """Values of an axis that stands for one quantity: `1,10,100`, or `lo:hi:n`, even in the logarithm."""
    if text is None:
        return []
    return spaced(option.opts[0], text).values(logarithmic=True)


def _pairs(context: click.Context, option: click.Parameter, texts: tuple[str, ...], form: str) -> dict[str, str]:
    """`name=text` of a repeatable option, each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = (part.strip() for part in text.partition("="))
        if not (name and separator and value):
            raise click.BadParameter(f"{text!r}: write {form}")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        found[name] = value
    return found


def _assignments(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """Values by name from `name=value,...`, repeatable."""
    split = tuple(part for text in texts for part in text.split(",") if part.strip())
    found: dict[str, float] = {}
    for name, text in _pairs(context, option, split, "NAME=VALUE, as in mass=10").items():
        try:
            found[name] = number(text)
        except ValueError:
            raise click.BadParameter(f"{name}={text}: {text!r} is not a number") from None
    return found


def _axes(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[Axis]:
    pairs = _pairs(context, option, texts, "NAME=1,10,100 or NAME=lo:hi:n")
    return [spaced(name, text) for name, text in pairs.items()]


def _windows(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, text in _pairs(context, option, texts, "NAME=lo:hi").items():
        try:
            low, high = map(number, text.split(":"))
        except ValueError:
            raise click.BadParameter(f"{name}={text}: write {name}=lo:hi, two numbers") from None
        found[name] = (low, high)
    return found


def _priors(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    return _pairs(context, option, texts, "NAME=PRIOR, as in sin2w=uniform:0:0.5")


def _complete_experiments(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    from jcevns.experiments.groups import GROUPS
    from jcevns.experiments.names import ENTRIES

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*ENTRIES, *GROUPS) if name.startswith(last)]


def _complete_theory(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in theory_names() if name.startswith(last)]


def parameter_names(*more: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion of parameters: of the theory that is written before, else of all; with other words."""

    def complete(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        known = [*declared_names(context.params.get("theory")), measured(), *more]
        return [f"{before}{comma}{name}" for name in dict.fromkeys(known) if name.startswith(last)]

    return complete


_SHARED = {
    "experiments": click.option(
        "--experiments",
        required=True,
        callback=experiments,
        shell_complete=_complete_experiments,
        metavar="A[,B...]",
        help="See jcevns --help and jcevns experiments.",
    ),
    "theory": click.option(
        "--theory",
        metavar="SPEC",
        shell_complete=_complete_theory,
        help="NAME[:option=value...][+NAME...]; FILE.py:ClassName RUNS the file.  [default: standard-model]",
    ),
    "at": click.option(
        "--at",
        multiple=True,
        callback=_assignments,
        metavar="NAME=VALUE,...",
        help="Fix parameters, in the units of jcevns parameters.",
    ),
    "profiled": click.option(
        "--profile",
        "profiled",
        multiple=True,
        callback=names,
        shell_complete=parameter_names(),
        metavar="NAME,...",
        help="Minimise also over these, which have no constraint.",
    ),
    "constrained": click.option(
        "--constrained",
        multiple=True,
        callback=names,
        shell_complete=parameter_names(),
        metavar="NAME,...",
        help="Keep the constraint of these.",
    ),
    "shape": click.option(
        "--shape", default=None, help="8B shape for all experiments: bahcall1996 (default) or winter2006."
    ),
}


def model_options(*more: str) -> Callable[[Callable], Callable]:
    """Options of experiments, theory and 8B shape, and of `at`, `profiled`, `constrained`; all as one `Asked`."""
    chosen = ("experiments", "theory", *more, "shape")

    def add(command: Callable) -> Callable:
        @functools.wraps(command)
        def call(*arguments: Any, **given: Any) -> Any:
            asked = Asked(**{name: given.pop(name) for name in chosen})
            return command(*arguments, asked=asked, **given)

        for name in reversed(chosen):
            _SHARED[name](call)
        return call

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="JSON alone on standard output.")


def names_option(text: str, *declarations: str, **settings: Any) -> Any:
    """An option of comma-separated parameters."""
    return click.option(*declarations, callback=names, shell_complete=parameter_names(), help=text, **settings)


def short_axis(declaration: str, text: str) -> Any:
    """An option that is called as the parameter of its axis."""

    def read(context: click.Context, option: click.Parameter, given: str | None) -> Axis | None:
        return None if given is None else spaced(option.name or "", given)

    return click.option(declaration, callback=read, metavar="lo:hi:n|A,B,...", help=text)


def axes_option(declaration: str, text: str) -> Any:
    """A repeatable option of axes."""
    return click.option(
        declaration, "axes", multiple=True, callback=_axes, metavar="NAME=lo:hi:n[:lin|:log]|NAME=A,B,...", help=text
    )


def out_option(text: str, **settings: Any) -> Any:
    """Where files go."""
    return click.option("--out", type=click.Path(path_type=Path), help=text, **settings)


window_option = click.option(
    "--window",
    multiple=True,
    callback=_windows,
    metavar="NAME=lo:hi",
    help="Range of a parameter, where the automatic one will not do; repeatable.",
)

prior_option = click.option(
    "--prior", "priors", multiple=True, callback=_priors, metavar="NAME=PRIOR", help="See above; repeatable."
)


def csv_option(command: Callable) -> Callable:
    """Options of a recoil spectrum of one's own."""
    for option in (
        click.option("--b8", default="background", show_default=True, help="8B beside it: background or none."),
        click.option("--spectrum", type=click.Path(path_type=Path), help="CSV of your own dR/dT, for strength."),
    ):
        command = option(command)
    return command


def given(context: click.Context, name: str) -> bool:
    """Whether the user wrote an option."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def refuse(context: click.Context, why: Mapping[str, str]) -> None:
    """Raise UsageError for options that were written and are not used, by parameter of the command: a reason each."""
    for option in context.command.params:
        if option.name in why and given(context, option.name):
            raise click.UsageError(f"{option.opts[0]} is not used here: {why[option.name]}", context)


def refused(declarations: str, remedy: str, **settings: Any) -> Any:
    """An option of earlier versions, which says what replaces it."""

    def stop(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value is not None and not context.resilient_parsing:
            raise click.UsageError(f"{option.opts[0]} is gone: {remedy}", context)

    return click.option(declarations, hidden=True, expose_value=False, default=None, callback=stop, **settings)


@contextmanager
def bar(total: int, label: str, unit: str = "toy") -> Iterator[Callable[[int], Any]]:
    """Progress on a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=True, desc=label, disable=None) as shown:
        yield shown.update
