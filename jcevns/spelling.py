"""How names and numbers are written: the nearest to a name that is not known; what no one means as a number."""

import difflib
from collections.abc import Collection, Iterable, Mapping

__all__ = ["check_options", "number", "unknown", "whole"]


def number(text: str) -> float:
    """A number as people write it: not 1_000, which only programs take for a thousand.

    Raises:
        ValueError: it is none.
    """
    return float(text.replace("_", "?"))


def whole(text: str) -> int:
    """The same for a whole number."""
    return int(text.replace("_", "?"))


def check_options(where: str, known: Mapping[str, Collection[str]], **given: str) -> None:
    """Raise ValueError for an option that has none of its values.

    Args:
        where: whose options they are.
        known: values of each option.
        given: options.
    """
    for option, value in given.items():
        if value not in known[option]:
            raise ValueError(unknown(f"{where}: {option}", value, known[option]))


def unknown(
    what: str, name: str, known: Iterable[str], remedy: str = "choose from", short: Mapping[str, str] | None = None
) -> str:
    """Message for an unknown name.

    Args:
        what: what it should name, such as `interaction`; after a colon the place may come first.
        name: as given.
        known: the names there are.
        remedy: words before their list.
        short: other ways to write them, to the names.

    Example:
        >>> from jcevns.spelling import unknown
        >>> unknown("interaction", "sclar", ["scalar", "vector"])
        "unknown interaction 'sclar' (did you mean scalar?): choose from scalar, vector"
    """
    names = list(known)
    lower = {spelt.lower(): full for spelt, full in (short or {}).items()} | {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f" (did you mean {lower[near[0]]}?)" if near else ""
    place, separator, noun = what.rpartition(": ")
    return f"{place}{separator}unknown {noun} {name!r}{hint}: {remedy} {', '.join(names)}"
