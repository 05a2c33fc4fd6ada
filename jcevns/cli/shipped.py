"""What help, lists and completion say of theories and experiments, read from a file: JAX takes a second to import."""

import functools
import json
from pathlib import Path
from typing import Any, TypedDict

__all__ = ["LISTINGS", "Listings", "declared_names", "shipped", "theory_names"]

LISTINGS = Path(__file__).with_name("listings.json")
"""Never edited: `python -m jcevns.cli.describe` writes it."""


class Listings(TypedDict):
    """What the package ships, at default options.

    Attributes:
        theories: as `jcevns theories --json` prints them, each with the lines of the `table` of its own parameters.
        experiments: as `jcevns experiments --json` prints them.
        form_factors: names of the parameters of each, the default one first.
        parameters: names of all that theories and form factors may have, those of the Standard Model first.
        measured: short name of the flux of an experiment, which is fitted where nothing is named.
    """

    theories: list[dict[str, Any]]
    experiments: list[dict[str, Any]]
    form_factors: dict[str, list[str]]
    parameters: list[str]
    measured: str


@functools.cache
def shipped() -> Listings:
    """The listings of the package.

    They are of the data that it ships, also where JCEVNS_DATA names a folder of the user's: `Experiment` has what
    that one holds.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return json.loads(LISTINGS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{LISTINGS}: missing or damaged ({error}): reinstall jcevns") from None


def theory_names() -> list[str]:
    """Built-in theories.

    Raises:
        ValueError: the listings are missing or damaged.
    """
    return [entry["name"] for entry in shipped()["theories"]]


def declared_names(theory: str | None = None) -> list[str]:
    """Parameters of built-in theories as written, or of all; a file is not run.

    Raises:
        ValueError: the listings are missing or damaged.
    """
    listings = shipped()
    known = {entry["name"]: [record["name"] for record in entry["parameters"]] for entry in listings["theories"]}
    parts = [part.strip().split(":") for part in (theory or "").split("+") if part.strip()]
    if not parts or not all(name in known for name, *_ in parts):
        return listings["parameters"]
    written = (option.partition("=") for _, *options in parts for option in options)
    options = {option: value for option, _, value in written}
    names = [name for part in parts for name in known[part[0]]]
    names += [option for option in options if option in listings["parameters"]]
    shapes = listings["form_factors"]
    chosen = shapes.get(options.get("form_factor", ""))
    if chosen is not None:
        usual = next(iter(shapes.values()))
        names = [*(name for name in names if name not in usual), *chosen]
    return list(dict.fromkeys(names))
