"""What every card text shares."""

from __future__ import annotations

from dataclasses import dataclass

FACTS = "facts from the cited publication; see the source for its licence"
OWN = "computed for this package; same licence as the package"


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
