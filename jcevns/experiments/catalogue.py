"""Experiments by name: the built-in ones, with options, and the user's TOML files."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jcevns.experiments.borexino import LOWEST
from jcevns.experiments.experiment import Experiment
from jcevns.experiments.groups import GROUPS
from jcevns.experiments.names import ENTRIES, INPUTS, check_known, check_option_names, parsed
from jcevns.experiments.replacing import Recipe
from jcevns.experiments.toml_file import load_experiment
from jcevns.spelling import number

__all__ = ["EXPERIMENTS", "describe", "experiment", "parse_experiment", "takes"]


class _Builders(Mapping[str, Callable[..., Experiment]]):
    """What builds each experiment, imported when it is asked for."""

    def __getitem__(self, name: str) -> Callable[..., Experiment]:
        module, _, function = ENTRIES[name].where.partition(":")
        return getattr(importlib.import_module(f"jcevns.experiments.{module}"), function)

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


EXPERIMENTS: Mapping[str, Callable[..., Experiment]] = _Builders()
"""Built-in experiments: name to the function that builds it."""

_RANGES = {
    "field": (1.0, 1e5, "V/cm"),
    "beam_centre": (-6.0, 6.0, "us"),
    "beam_width": (1e-3, 6.0, "us"),
    "background_error": (1e-4, 1e2, "relative"),
    "bin_keV": (0.1, 29.0, "keV"),
    "exposure": (1e-4, 1e4, "tonne-year"),
    "above_keV": (LOWEST, 230.0, "keV"),
    "merge": (1.0, 43.0, "channels"),
    "accidental_sr2": (1e-4, 1e2, "relative"),
    "efficiency": (1e-4, 1e2, "relative"),
    "k": (0.05, 0.5, "of the Lindhard model"),
    "threshold": (0.05, 0.7, "keV"),
}
"""Values that each option of a number may have, and their unit."""


def describe() -> list[dict[str, Any]]:
    """What the built-in experiments are, without building them.

    Returns:
        One dict each: `name`, `about` in one line, `status` of the data at default options, and `options`, pairs of
        a name and its default.

    Example:
        >>> from jcevns.experiments.catalogue import describe
        >>> describe()[4]["options"][:4]
        [('table', 'T1'), ('shape', 'bahcall1996'), ('field', 88.0), ('response', 'paper')]
    """
    return [
        {
            "name": name,
            "about": entry.about,
            "status": entry.status,
            "options": [(option, p.default) for option, p in inspect.signature(EXPERIMENTS[name]).parameters.items()],
        }
        for name, entry in ENTRIES.items()
    ]


def experiment(name: str, **options: Any) -> Experiment:
    """Build an experiment.

    Args:
        name: `NAME[:option=value...]` with a key of `EXPERIMENTS`, or the path of a TOML file.
        options: of the built-in experiment, such as `table="T3"` or `response="unsmeared"`. Where it has them,
            `efficiency`, `charge_yield`, `form_factor` and `flux` may be objects, see `Experiment.replace`.

    Raises:
        ValueError: unknown name or option, with the known ones, a value of the wrong kind, or a group, which is
            several experiments.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> xenonnt.observed.tolist()  # events per bin of cS2
        [16.0, 14.0, 7.0]
        >>> pandax = jc.experiment("pandax4t-us2:table=T3")  # the same as with table="T3"
        >>> pandax.notes[0][:8]
        'table T3'
    """
    name, own = parsed(name)
    twice = [option for option in options if option in own]
    if twice:
        raise ValueError(f"{name}: option {twice[0]!r} is given twice, in the name and beside it")
    options = own | options
    if name.endswith(".toml"):
        if options:
            raise ValueError(f"{name}: an experiment from a file takes no options, edit the file")
        return load_experiment(Path(name))
    if name in GROUPS:
        raise ValueError(
            f"{name} is a group of {len(GROUPS[name].members)} experiments: give it to jcevns.Likelihood or a verb, "
            f"or name one of {', '.join(GROUPS[name].members)}"
        )
    known = _options(name)
    check_option_names(name, options)
    typed = {o: _typed(name, o, value, known[o]) for o, value in options.items()}
    plain = {o: str(v) if isinstance(v, Path) else v for o, v in typed.items() if isinstance(v, str | Path | float)}
    inputs = {o: v for o, v in typed.items() if o not in plain}
    built = EXPERIMENTS[name](**typed)
    return dataclasses.replace(built, recipe=Recipe(name, tuple(sorted(plain.items())), inputs))


def parse_experiment(text: str, **defaults: Any) -> Experiment:
    """The same with defaults: options used where the experiment has them and the text does not set them."""
    name, own = parsed(text)
    if name.endswith(".toml"):
        return experiment(text)
    known = _options(name)
    return experiment(name, **({k: v for k, v in defaults.items() if k in known} | own))


def takes(text: str, option: str) -> bool:
    """Whether an experiment has an option, and the text does not set it."""
    name, own = parsed(text)
    return name in EXPERIMENTS and option in _options(name) and option not in own


def _options(name: str) -> dict[str, Any]:
    """Options of a built-in experiment and their defaults."""
    check_known([name])
    return {option: p.default for option, p in inspect.signature(EXPERIMENTS[name]).parameters.items()}


def _typed(name: str, option: str, value: Any, default: Any) -> Any:
    """A value as its default is: a number or text."""
    if isinstance(default, str):
        if option in INPUTS and not isinstance(value, bool | int | float):
            return value
        if not isinstance(value, str | Path):
            raise ValueError(f"{name}: {option} {value!r} must be text, such as {default!r}")
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        given = number(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: {option} {value!r} must be a number, such as {default:g}") from None
    low, high, unit = _RANGES[option]
    if not low <= given <= high:
        raise ValueError(f"{name}: {option} {given:g} must be from {low:g} to {high:g} ({unit}), such as {default:g}")
    return given
