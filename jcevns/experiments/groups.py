"""Named groups of experiments that may be fitted together, and why others are not among them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jcevns.spelling import unknown

__all__ = ["GROUPS", "ExperimentGroup", "expand", "left_out"]


class ExperimentGroup(NamedTuple):
    """Experiments with independent events.

    Attributes:
        about: what they have in common.
        members: names of the experiments, with options.
        left_out: names of others of the kind, with the reason.
    """

    about: str
    members: tuple[str, ...]
    left_out: Mapping[str, str]


_8B = ("xenonnt-2026", "pandax4t-us2")
_8B_LEFT_OUT = {
    "xenonnt-2024": "holds events of the same runs as xenonnt-2026",
    "xenonnt-2024-s2": "holds events of the same runs as xenonnt-2026",
    "xenonnt-s2only-2026": "is from the same runs as xenonnt-2026, and whether events are shared is not stated",
}

GROUPS: Mapping[str, ExperimentGroup] = {
    "all-8b": ExperimentGroup("CEvNS of solar 8B neutrinos on xenon", _8B, _8B_LEFT_OUT),
    "all-cevns": ExperimentGroup(
        "CEvNS of 8B neutrinos, pion decay at rest and reactors, without shape nuisances: a fit takes milliseconds",
        (
            "xenonnt-2024-s2",
            "pandax4t-us2",
            "coherent-csi-2021:shapes=none",
            "coherent-lar-2020:shapes=none",
            "coherent-ge-2026",
            "conus-plus-2025",
        ),
        {
            "xenonnt-2024": "holds events of the same runs as xenonnt-2024-s2",
            "xenonnt-2026": "holds events of the same runs as xenonnt-2024-s2, and has shape nuisances",
            "xenonnt-s2only-2026": "is from the same runs as xenonnt-2024-s2, events may be shared",
            "coherent-ge-2024": "may hold events of the same runs as coherent-ge-2026",
            "dresden-ii": "hangs on a contested quenching factor, add it by name",
        },
    ),
    "all-er": ExperimentGroup(
        "scattering on electrons of solar and reactor neutrinos",
        ("xenonnt-er-2022", "lz-er-ws2022", "lz-er-ws2024", "pandax4t-er-run1", "borexino-phase2", "texono-2010"),
        {"borexino-phase3": "has an inferred response, where borexino-phase2 has published rates"},
    ),
}
"""Groups by name; a name stands for its members wherever experiments are named."""


def expand(given: Iterable[Any]) -> list[Any]:
    """Experiments in order, a name of a group replaced by its members, each of which is there once.

    Raises:
        ValueError: a group with options.

    Example:
        >>> from jcevns.experiments.groups import expand
        >>> expand(["all-8b", "texono-2010"])
        ['xenonnt-2026', 'pandax4t-us2', 'texono-2010']
    """
    found: list[Any] = []
    for one in given:
        name = one.partition(":")[0].strip() if isinstance(one, str) else ""
        if name not in GROUPS:
            if name.startswith("all-"):
                raise ValueError(unknown("group", name, GROUPS))
            found.append(one)
            continue
        if one.strip() != name:
            raise ValueError(
                f"{one!r}: a group takes no options, name its experiments: {', '.join(GROUPS[name].members)}"
            )
        found += [member for member in GROUPS[name].members if member not in found]
    return found


def left_out(given: Iterable[Any]) -> list[str]:
    """What groups among the names leave out, a sentence each."""
    return [
        f"{name} leaves out {other}: it {why}"
        for name in given
        if isinstance(name, str) and name.strip() in GROUPS
        for other, why in GROUPS[name.strip()].left_out.items()
    ]
