"""Accepted ranges of a parameter: what intervals of every kind have in common."""

from typing import Any

from jcevns.export import Exported

__all__ = ["Accepted", "Segment"]

Segment = tuple[float | None, float | None]
"""An accepted range; None for an end that is open: a bound reached below the level, or nothing found."""


class Accepted(Exported):
    """Ranges accepted around a best fit, one of which holds it: what intervals have in common.

    Attributes:
        segments: all accepted ranges in order.
        best_fit: value of the lowest chi2.
    """

    segments: tuple[Segment, ...]
    best_fit: float

    def to_dict(self) -> dict[str, Any]:
        """Its fields, with `lower` and `upper` of the range that holds the best fit."""
        return super().to_dict() | {"lower": self.lower, "upper": self.upper}

    @property
    def main(self) -> Segment:
        """The range that holds the best fit."""
        for low, high in self.segments:
            if (low is None or low <= self.best_fit) and (high is None or self.best_fit <= high):
                return low, high
        return None, None

    @property
    def lower(self) -> float | None:
        """Lower end of the range with the best fit."""
        return self.main[0]

    @property
    def upper(self) -> float | None:
        """Upper end of the range with the best fit."""
        return self.main[1]
