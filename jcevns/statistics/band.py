"""Expected counts after a fit, with the band that its covariance, or the draws of a posterior, give them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.experiments.axes import along as summed
from jcevns.experiments.axes import find_axis
from jcevns.experiments.experiment import SIGNAL, Experiment
from jcevns.export import Exported
from jcevns.fit.result import Fit
from jcevns.fit.rounding import percent
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood, component_counts
from jcevns.physics.interaction import label_of
from jcevns.precision import require_x64
from jcevns.spelling import unknown
from jcevns.statistics.sample import Posterior

__all__ = ["Band", "band"]

_DRAWS = 1000  # of a posterior, spread evenly over it


@dataclasses.dataclass(frozen=True)
class Band(Exported):
    """Expected counts of every bin, with a band; everything by experiment.

    Attributes:
        cl: probability of the band, in each bin.
        method: `covariance` or `posterior`.
        components: counts of the signal and of each background: at the best fit, or medians of the draws.
        expected: all together.
        lower: end of the band, in counts; by covariance it may lie below zero.
        upper: the other end.
        observed: the data.
        edges: of the bins; numbers of bins if the experiment has none.
        axes: label of the axis that each experiment's counts are along, if they are summed over the others.
        held: parameters that a bound or a kink holds at the best fit: they add nothing to the band.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> found = jc.band(likelihood, jc.fit(likelihood, "flux"))
        >>> for row in found.rows():
        ...     print(f"{row['expected']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}], seen {row['observed']:.0f}")
        11.84 [10.10, 13.57], seen 16
        13.94 [11.17, 16.71], seen 14
        12.02 [10.44, 13.60], seen 7
    """

    cl: float
    method: str
    components: dict[str, dict[str, Float[np.ndarray, " bin"]]]
    expected: dict[str, Float[np.ndarray, " bin"]]
    lower: dict[str, Float[np.ndarray, " bin"]]
    upper: dict[str, Float[np.ndarray, " bin"]]
    observed: dict[str, Float[np.ndarray, " bin"]]
    edges: dict[str, Float[np.ndarray, " edge"]]
    held: tuple[str, ...] = ()
    axes: dict[str, str] = dataclasses.field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each bin of each experiment."""
        found = []
        for name, expected in self.expected.items():
            edges = self.edges[name]
            for i, value in enumerate(expected):
                row = {"experiment": name, "bin": i, "from": edges[i], "to": edges[i + 1]}
                row |= {"observed": self.observed[name][i], "expected": value}
                row |= {"lower": self.lower[name][i], "upper": self.upper[name][i]}
                row |= {component: counts[i] for component, counts in self.components[name].items()}
                found.append({k: v if isinstance(v, str | int) else float(v) for k, v in row.items()})
        return found

    def __str__(self) -> str:
        head = f"expected counts, {percent(self.cl)} band from the {self.method}"
        rows = [("experiment", "bin", "observed", "expected", "band")]
        for row in self.rows():
            ends = f"[{row['lower']:.4g}, {row['upper']:.4g}]"
            numbers = (f"{row['observed']:.6g}", f"{row['expected']:.4g}", ends)
            rows.append((row["experiment"], f"[{row['from']:.4g}, {row['to']:.4g}]", *numbers))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        held = [f"  note: {name} is held by a bound or a kink and adds nothing" for name in self.held]
        return "\n".join([head, *lines, *held])


def band(
    likelihood: Likelihood | Experiments, result: Fit | Posterior, cl: float = ONE_SIGMA, along: str = ""
) -> Band:
    """Expected counts per bin, with a band of the given probability in each.

    Of a fit by linear propagation, J C J^T with the exact derivatives J of the counts and the covariance C of
    everything that moves: fitted and profiled parameters and nuisances, with their correlations. Of a posterior as
    the central interval of its draws.

    Args:
        likelihood: the one that was fitted or sampled.
        result: from `fit` or `sample`.
        cl: probability of the band in one bin.
        along: label of an axis, or how it begins: experiments that have it (`Experiment.axes`) are summed over their
            other axes and over runs, before the band is made.

    Raises:
        RuntimeError: in single precision.
        ValueError: a result of other experiments or of another theory, one that is not valid, a level outside (0, 1),
            an axis that no experiment has.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> found = jc.band(likelihood, jc.fit(likelihood, "flux"), cl=0.95)
        >>> [round(float(n), 1) for n in found.upper["xenonnt-2024-s2"]]
        [15.2, 19.4, 15.1]
    """
    require_x64("a band")
    likelihood = as_likelihood(likelihood)
    width = math.sqrt(chi2_threshold(cl))
    _check(likelihood, result)
    axes = (
        {
            one.name: find_axis(one.axes, along).label
            for one in likelihood.experiments
            if any(axis.label.startswith(along) for axis in one.axes)
        }
        if along
        else {}
    )
    if along and not axes:
        raise ValueError(unknown("axis", along, [axis.label for one in likelihood.experiments for axis in one.axes]))
    if isinstance(result, Fit):
        return _of_fit(likelihood, axes, result, cl, width)
    return _of_posterior(likelihood, axes, result, cl)


def _check(likelihood: Likelihood, result: Fit | Posterior) -> None:
    theory = result.theory if isinstance(result, Fit) else result.settings["theory"]
    for what, of, given in (
        ("experiments", ", ".join(result.experiments), ", ".join(likelihood.names)),
        ("theory", theory, label_of(likelihood.theory)),
    ):
        if of != given:
            raise ValueError(f"the {what} of the result, {of}, are not those of the likelihood, {given}")
    if result.problems:
        raise ValueError(f"no band from a result that is not valid: {'; '.join(result.problems)}")


def _rows(likelihood: Likelihood, axes: Mapping[str, str], values: Mapping[str, Any]) -> list[Array]:
    """Counts of the components of each experiment, (component, bin), along its axis if it has one."""
    found = component_counts(likelihood, values)
    rows = zip(likelihood.experiments, found.values(), strict=True)
    return [_seen(one, axes, jnp.stack(list(own.values()))) for one, own in rows]


def _seen(one: Experiment, axes: Mapping[str, str], counts: Any) -> Any:
    return summed(one.axes, axes[one.name], counts) if one.name in axes else counts


def _with_slopes(
    likelihood: Likelihood, axes: Mapping[str, str], names: tuple[str, ...], at: Array, fixed: dict[str, Array]
) -> Any:
    """Counts by component, and derivatives of their sum in the named parameters."""

    def total(x: Array) -> tuple[Array, list[Array]]:
        rows = _rows(likelihood, axes, fixed | dict(zip(names, x, strict=True)))
        return jnp.concatenate([jnp.sum(row, axis=0) for row in rows]), rows

    return jax.jacfwd(total, has_aux=True)(at)


def _of_draws(
    likelihood: Likelihood, axes: Mapping[str, str], draws: dict[str, Array], fixed: dict[str, Array]
) -> list[Array]:
    # The likelihood is no argument of what is compiled: names and bounds are not numbers.
    return jax.jit(lambda each: jax.lax.map(lambda one: _rows(likelihood, axes, fixed | one), each))(draws)


def _of_fit(likelihood: Likelihood, axes: dict[str, str], result: Fit, cl: float, width: float) -> Band:
    covariance = result.full_covariance
    moving = np.isfinite(np.diagonal(covariance.matrix))
    names = tuple(n for n, free in zip(covariance.names, moving, strict=True) if free)
    held = tuple(n for n in covariance.names if n not in names)
    if not names:
        raise ValueError("the fit has no covariance: no parameter moves")
    fixed = {n: jnp.asarray(v) for n, v in (result.fixed | covariance.values).items() if n not in names}
    at = jnp.asarray([covariance.values[n] for n in names])
    slopes, rows = _with_slopes(likelihood, axes, names, at, fixed)
    matrix = covariance.matrix[np.ix_(moving, moving)]
    spread = width * np.sqrt(np.maximum(np.einsum("bp,pq,bq->b", slopes, matrix, slopes), 0.0))
    middle = [np.asarray(row) for row in rows]
    total = np.concatenate([row.sum(axis=0) for row in middle])
    return _band(likelihood, axes, cl, "covariance", middle, total, total - spread, total + spread, held)


def _of_posterior(likelihood: Likelihood, axes: dict[str, str], result: Posterior, cl: float) -> Band:
    values = result.settings["priors"]  # the others are kept as factors of their defaults, and as positions
    count = len(result.samples(next(iter(result.records))))
    chosen = np.linspace(0, count - 1, min(_DRAWS, count)).astype(int)
    draws = {
        name: jnp.asarray(result.samples(name)[chosen] * (1.0 if name in values else record.reference))
        for name, record in result.records.items()
    }
    fixed = {name: jnp.asarray(float(v)) for name, v in result.settings["at"].items()}
    rows = [np.asarray(row) for row in _of_draws(likelihood, axes, draws, fixed)]  # (draw, component, bin)
    total = np.concatenate([row.sum(axis=1) for row in rows], axis=1)
    low, middle, high = np.quantile(total, [(1 - cl) / 2, 0.5, (1 + cl) / 2], axis=0)
    return _band(likelihood, axes, cl, "posterior", [np.median(row, axis=0) for row in rows], middle, low, high)


def _band(
    likelihood: Likelihood,
    axes: dict[str, str],
    cl: float,
    method: str,
    components: list[np.ndarray],
    middle: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    held: tuple[str, ...] = (),
) -> Band:
    """By experiment."""
    stops = np.cumsum([row.shape[1] for row in components])[:-1]
    names = [(SIGNAL, *one.backgrounds) for one in likelihood.experiments]  # as in `component_counts`

    def split(values: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(likelihood.names, np.split(values, stops), strict=True))

    parts = {
        name: dict(zip(own, row, strict=True))
        for name, own, row in zip(likelihood.names, names, components, strict=True)
    }
    edges, observed = {}, {}
    data = [np.asarray(likelihood.model.observed)[slice(*place)] for place in likelihood.layout.bins]
    for one, counts in zip(likelihood.experiments, data, strict=True):
        observed[one.name] = _seen(one, axes, counts)
        size = len(observed[one.name])
        own = find_axis(one.axes, axes[one.name]).edges if one.name in axes else one.bin_edges
        edges[one.name] = np.asarray(own if len(own or ()) == size + 1 else np.arange(size + 1), float)
    return Band(cl, method, parts, split(middle), split(low), split(high), observed, edges, held, axes)
