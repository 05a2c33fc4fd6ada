"""Histograms in and out, by the UHI protocol that hist, boost-histogram, uproot and mplhep share."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["Histogram", "HistogramAxis", "is_histogram", "read_histogram", "steps"]


class HistogramTraits(NamedTuple):
    """What an axis is: neither circular nor of separate labels."""

    circular: bool = False
    discrete: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class HistogramAxis:
    """Bins of a histogram: a sequence of pairs of edges.

    Attributes:
        edges: increasing.
        label: what they are of, with unit.
    """

    edges: Float[np.ndarray, " edge"]
    label: str = ""

    @property
    def traits(self) -> HistogramTraits:
        """Continuous, not circular."""
        return HistogramTraits()

    def __getitem__(self, index: int) -> tuple[float, float]:
        """Edges of a bin."""
        low, high = self.edges[:-1][index], self.edges[1:][index]
        return float(low), float(high)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter([self[i] for i in range(len(self))])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HistogramAxis) and np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash(tuple(self.edges))


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Counts per bin as an object that follows `uhi.typing.plottable.PlottableHistogram`.

    Attributes:
        axis: the bins.
        contents: counts.
        name: what is counted.
        observed: whether they are events, with Poisson errors, and not an expectation.
    """

    axis: HistogramAxis
    contents: Float[np.ndarray, " bin"]
    name: str = ""
    observed: bool = False

    @property
    def axes(self) -> tuple[HistogramAxis]:
        """The one axis."""
        return (self.axis,)

    @property
    def kind(self) -> str:
        """Counts, not means."""
        return "COUNT"

    def values(self) -> Float[np.ndarray, " bin"]:
        """Counts per bin."""
        return np.array(self.contents)

    def variances(self) -> Float[np.ndarray, " bin"] | None:
        """Variances of observed counts; an expectation has none."""
        return np.array(self.contents) if self.observed else None

    def counts(self) -> Float[np.ndarray, " bin"] | None:
        """Events per bin, of observed ones."""
        return np.array(self.contents) if self.observed else None


def is_histogram(value: Any) -> bool:
    """Whether an object follows the protocol: `axes`, and `values` to be called."""
    return hasattr(value, "axes") and callable(getattr(value, "values", None))


def read_histogram(what: str, given: Any) -> tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " bin"], str]:
    """Edges, contents and label of a histogram of one axis; underflow and overflow are left out.

    Args:
        what: it is, for messages.
        given: any object that follows the UHI protocol.

    Raises:
        ValueError: no histogram, several axes, bins that are labels, or means in place of counts.
    """
    if not is_histogram(given):
        raise ValueError(
            f"{what}: a {type(given).__name__} is no histogram of the UHI protocol (axes[0].edges and values()), as "
            "those of hist and boost-histogram"
        )
    if len(given.axes) != 1:
        raise ValueError(f"{what}: the histogram has {len(given.axes)} axes: project it onto one")
    kind = str(getattr(getattr(given, "kind", "COUNT"), "value", getattr(given, "kind", "COUNT")))
    if kind != "COUNT":
        raise ValueError(f"{what}: the histogram holds {kind.lower()}s, counts are needed")
    axis, values = given.axes[0], np.asarray(given.values(), float)
    traits = getattr(axis, "traits", None)
    if getattr(traits, "discrete", False) or getattr(traits, "circular", False):
        raise ValueError(f"{what}: the bins of the histogram are labels or a circle, they must be ranges")
    try:
        edges = np.asarray(axis.edges, float)
    except AttributeError:  # the protocol has the bins alone
        pairs = np.asarray([tuple(axis[i]) for i in range(len(axis))], float)
        edges = np.append(pairs[:, 0], pairs[-1, 1])
    if values.ndim != 1 or edges.shape != (values.size + 1,):
        raise ValueError(f"{what}: {edges.size} edges for {values.size} bins of the histogram")
    return edges, values, str(getattr(axis, "label", "") or getattr(axis, "name", "") or "")


def steps(what: str, given: Any, width: float) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Nodes and density of a histogram as a table that is linear in between; each bin keeps its contents.

    Args:
        what: it is, for messages.
        given: the histogram.
        width: of the ramp from one bin to the next, relative.

    Raises:
        ValueError: as for `read_histogram`.

    Example:
        >>> import hist
        >>> from jcevns.histogram import steps
        >>> steps("spectrum", hist.new.Var([0.5, 1, 3]).Weight().fill([0.7, 2], weight=[20, 10]), 1e-9)[1].tolist()
        [40.0, 40.0, 5.0, 5.0]
    """
    edges, counts, _ = read_histogram(what, given)
    inner = edges[1:-1]
    nodes = np.sort(np.concatenate([edges[[0, -1]], inner * (1 - width), inner * (1 + width)]))
    return nodes, np.repeat(counts / np.diff(edges), 2)
