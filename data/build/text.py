"""What every card text shares."""

from __future__ import annotations

from dataclasses import dataclass

FACTS = "facts from the cited publication; see the source for its licence"
OWN = "computed for this package; same licence as the package"

ISOTOPE_COLUMNS = {
    "isotope": ("text", "mass number and symbol"),
    "Z": ("1", "proton number"),
    "A": ("1", "mass number"),
    "atomic_mass_u": ("u", "mass of the neutral atom"),
    "abundance": ("1", "mole fraction"),
    "spin": ("hbar", "ground-state spin"),
    "nuclear_mass_MeV": ("MeV", "mass of the bare nucleus"),
}


@dataclass(frozen=True)
class CardText:
    """The hand-written part of a card; columns map a name to (unit, description)."""

    title: str
    status: str
    description: str
    reference: str
    arxiv: str
    doi: str
    licence: str
    columns: dict[str, tuple[str, str]]
