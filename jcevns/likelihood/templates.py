"""Templates along shape nuisances as a nominal one and the changes of each shape, where they add up."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jcevns.experiments.nuisances import ShapeNuisance

__all__ = ["Templates", "decomposed"]

_SAME = 1e-9  # of the largest count: what differs by less is rounding


@dataclasses.dataclass(frozen=True)
class Templates:
    """Expected counts of a component, and how each shape changes them.

    Attributes:
        nominal: counts per bin with all shapes at zero.
        anchors: of each shape that moves the component.
        changes: counts at its anchors minus the nominal ones, by name.
    """

    nominal: Float[np.ndarray, " bin"]
    anchors: Mapping[str, Float[np.ndarray, " anchor"]]
    changes: Mapping[str, Float[np.ndarray, "anchor bin"]]

    def check_positive(self, where: str) -> None:
        """Raise ValueError if counts are negative somewhere between the ends of the shapes."""
        lowest = self.nominal + sum((rows.min(axis=0) for rows in self.changes.values()), np.zeros_like(self.nominal))
        if np.any(lowest < -_SAME * np.max(np.abs(self.nominal), initial=0.0)):
            raise ValueError(
                f"{where}: with the shapes {', '.join(self.changes)} at their ends counts are negative, which "
                "HistFactory does not take: fix one of them with `at` before exporting"
            )

    def slopes(self, where: str, name: str) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
        """Change per unit of one shape below and above zero; of one side alone, the same on both.

        Args:
            where: what it is, for messages.
            name: of the shape.

        Raises:
            ValueError: a change that bends elsewhere.
        """
        at, change = self.anchors[name], self.changes[name]
        found = []  # of the sides that have anchors, one at least
        for side in (at < 0, at > 0):
            if not np.any(side):
                continue
            end = np.argmax(np.where(side, np.abs(at), 0.0))
            slope = change[end] / at[end]
            off = np.abs(change[side] - at[side, None] * slope)
            if np.any(off > _SAME * np.max(np.abs(self.nominal))):
                places = ", ".join(f"{a:g}" for a in at[side] if a != at[end])
                raise ValueError(
                    f"{where} is a line with bends at {places} of the shape {name}: HistFactory has no such "
                    "interpolation, it bends at the nominal value alone; fix the shape with `at` before exporting"
                )
            found.append(slope)
        return found[0], found[-1]


def _between(at: Sequence[float], table: Float[np.ndarray, "anchor *rest"], value: float) -> np.ndarray:
    """The table at a value along its first axis, linear between anchors."""
    lower = int(np.clip(np.searchsorted(at, value, side="right") - 1, 0, len(at) - 2))
    fraction = (value - at[lower]) / (at[lower + 1] - at[lower])
    return (1 - fraction) * table[lower] + fraction * table[lower + 1]


def decomposed(
    where: str,
    table: Float[np.ndarray, "*anchor bin"],
    shapes: Sequence[ShapeNuisance],
    morphing: str,
    still: Mapping[str, float],
) -> Templates:
    """Templates as a sum of a nominal one and of what each shape changes.

    Args:
        where: what it is, for messages.
        table: counts; at the anchors, first axes, where they move.
        shapes: of the experiment.
        morphing: how the tables are arranged, see `jcevns.Experiment`.
        still: values of shapes that stand still, by name.

    Raises:
        ValueError: shapes whose changes do not add up.
    """
    if table.ndim == 1 or not shapes:
        return Templates(table, {}, {})
    at = {shape.name: np.asarray(shape.anchors) for shape in shapes}
    if morphing == "sum":
        pieces = np.split(table, np.cumsum([len(a) for a in at.values()])[:-1])
        middle = {name: shape.anchors.index(0.0) for name, shape in zip(at, shapes, strict=True)}
        first = pieces[0][middle[shapes[0].name]]
        nominal, changes = first.copy(), {}
        for (name, anchors), rows in zip(at.items(), pieces, strict=True):
            change = rows - first
            if name in still:
                nominal = nominal + _between(list(anchors), change, still[name])
            else:
                changes[name] = change
    else:
        axis, left = 0, []
        for shape in shapes:
            if shape.name in still:
                moved = np.moveaxis(table, axis, 0)
                table = _between(shape.anchors, moved, still[shape.name])
            else:
                left.append(shape)
                axis += 1
        centre = tuple(shape.anchors.index(0.0) for shape in left)
        nominal, changes = table[centre], {}
        whole = np.broadcast_to(nominal, table.shape).copy()
        for k, shape in enumerate(left):
            rows = table[(*centre[:k], slice(None), *centre[k + 1 :])] - nominal
            changes[shape.name] = rows
            whole += rows.reshape(*[1] * k, -1, *[1] * (len(left) - k - 1), nominal.size)
        if np.any(np.abs(whole - table) > _SAME * np.max(np.abs(table))):
            raise ValueError(
                f"{where}: the changes of the shapes {', '.join(s.name for s in left)} do not add up, and "
                "HistFactory adds those of histosys modifiers: fix all but one with `at` before exporting"
            )
    most = np.max(np.abs(nominal), initial=0.0)
    changes = {name: rows for name, rows in changes.items() if np.any(np.abs(rows) > _SAME * most)}
    return Templates(nominal, {name: at[name] for name in changes}, changes)
