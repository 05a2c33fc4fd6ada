"""One message for a name that is not known: the nearest one that is, and all the others."""

import difflib
from collections.abc import Iterable, Mapping

__all__ = ["unknown"]


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
