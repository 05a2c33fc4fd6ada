"""One parameter of interest as toys and projections need it: its signal as weights and terms; what is profiled."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jcevns.compiled import compiled
from jcevns.fit.batch import expand
from jcevns.fit.surface import Surface
from jcevns.likelihood import model as models
from jcevns.likelihood.anchors import groups_of, rows_of
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood, internal
from jcevns.likelihood.model import Mixture, Model
from jcevns.parameters import Parameter

__all__ = ["Hypothesis", "Strength", "Truth", "hypothesis"]

_RELATIVE = 1e-10  # of the largest signal: what differs more from a straight line is none
_SMALLEST = 16  # points are evaluated in powers of two from here on, so that few sizes are compiled


class Truth(NamedTuple):
    """What toys are drawn at, besides the parameter of interest.

    Attributes:
        pulls: of the nuisances: factor - 1, or the position of a shape.
        inner: values of the parameters of the theory that are profiled.
    """

    pulls: Float[np.ndarray, " nuisance"]
    inner: Float[np.ndarray, " inner"]


class Strength(NamedTuple):
    """A parameter that is a factor on components of the signal: it is fitted together with the nuisances.

    Attributes:
        scale: value at which the factor is one.
        terms: signals; the last is multiplied by the factor, one before it is not.
        loading: 1 for the components of the signal that it multiplies.
        model: with the factor as the last normalisation, free within its bounds.
    """

    scale: float
    terms: Float[np.ndarray, "term anchor_bin"]
    loading: Float[np.ndarray, " component"]
    model: Model

    @property
    def place(self) -> int:
        """Of the factor among the parameters of the model."""
        return self.model.linear.shape[1] - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Hypothesis:
    """A likelihood and one parameter of interest; everything else is fixed or profiled.

    Attributes:
        likelihood: experiments and theory.
        record: the parameter.
        surface: chi2 in the parameter and in those of the theory that are profiled.
        inner: records of the latter.
        model: numbers of the likelihood, with fixed nuisances held.
        layout: their structure.
        nuisances: full names of the parameters of the model.
        place: of the parameter among them; None if it changes the signal.
        auxiliary: parameters outside the model that have a constraint, as their places in the points of the surface.
        strength: the parameter as a factor, if it is one.

    Example:
        >>> from jcevns.statistics.hypothesis import hypothesis
        >>> flux = hypothesis("xenonnt-2024-s2", "flux")
        >>> flux.name, flux.unit, flux.strength is not None, len(flux.nuisances)
        ('flux.b8', 'cm^-2 s^-1', True, 4)
    """

    likelihood: Likelihood
    record: Parameter
    surface: Surface
    inner: tuple[Parameter, ...]
    model: Model
    layout: Layout
    nuisances: tuple[str, ...]
    place: int | None
    auxiliary: tuple[int, ...]
    strength: Strength | None

    @property
    def name(self) -> str:
        """Full name of the parameter."""
        return self.record.name

    @property
    def unit(self) -> str:
        """Unit of its values."""
        return self.record.unit

    @property
    def records(self) -> tuple[Parameter, ...]:
        """The parameter, then those that are profiled over."""
        return (self.record, *self.inner)

    @property
    def nominal(self) -> Truth:
        """Nothing is pulled."""
        return Truth(np.zeros(len(self.nuisances)), np.array([r.default for r in self.inner]))

    @property
    def order(self) -> int:
        """Of the derivatives that fits take."""
        return 2 if self.inner else 1

    def points(self, values: Any) -> Float[np.ndarray, "point parameter"]:
        """Values of the parameter, with the profiled ones at their defaults."""
        x = np.atleast_1d(np.asarray(values, float))
        return np.column_stack([x, np.tile(self.nominal.inner, (x.size, 1))])

    # The signal.

    @cached_property
    def table(self) -> Float[np.ndarray, "term anchor_bin"] | None:
        """Terms of the signal; None if they depend on the parameters."""
        if self.strength is not None:
            return self.strength.terms
        return None if self.surface.folded else self.surface.mixture(self.points(self.record.default)).terms[0]

    def mixture(self, points: Float[np.ndarray, "point parameter"]) -> Mixture:
        """Signals at many points; derivatives of terms that depend on the parameters follow the terms."""
        if self.strength is None:
            return self.surface.mixture(points, self.order)
        weights = np.ones((len(self.strength.terms), len(points)))
        weights[-1] = points[:, 0] / self.strength.scale
        return Mixture(self.strength.terms[None], np.zeros(len(points), int), weights)

    def slopes(self, points: Float[np.ndarray, "point parameter"], mixture: Mixture) -> Sequence[np.ndarray]:
        """Derivatives of the weights, and of the parameter's place in the model, in the parameters of the points."""
        if self.strength is None:
            return self.surface.slopes(points, mixture, self.order)
        first = np.zeros((*mixture.weights.shape, 1))
        first[-1] = 1 / self.strength.scale
        return [first]

    def standing(self, values: Float[np.ndarray, " point"]) -> Float[np.ndarray, "point held"]:
        """The parameter as the model has it, if it is one of the model's."""
        if self.place is None:
            return np.zeros((len(values), 0))
        factor = values / self.record.reference
        with np.errstate(divide="ignore"):
            return (np.log(factor) if np.asarray(self.model.is_log)[self.place] else factor)[:, None]

    def expected(
        self, points: Float[np.ndarray, "point parameter"], pulls: Float[np.ndarray, " nuisance"] | None = None
    ) -> Float[np.ndarray, "point bin"]:
        """Expected counts at given pulls of the nuisances."""
        count = len(points)
        size = max(_SMALLEST, 2 ** int(np.ceil(np.log2(count))))
        rows = np.minimum(np.arange(size), count - 1)
        log, unit = np.asarray(self.model.is_log), np.asarray(self.model.unit)
        pull = np.zeros(unit.size) if pulls is None else pulls
        x = np.where(log, np.log1p(np.where(log, pull, 0.0)), unit + pull)
        x = np.tile(np.clip(x, self.model.lower, self.model.upper), (size, 1))
        if self.place is not None:
            x[:, self.place] = self.standing(points[rows, 0])[:, 0]
        found = self.mixture(points)
        signal = Mixture(jnp.asarray(found.terms), found.row[rows], found.weights[:, rows])
        return np.asarray(_expected(self.model, signal, x))[:count]

    def looks(self, values: Float[np.ndarray, " point"]) -> Float[np.ndarray, "point bin"]:
        """What chi2 depends on, cheap: the signal, or expected counts where the parameter is one of the model's."""
        points = self.points(values)
        return self.surface.signals(points) if self.place is None else self.expected(points)

    def with_data(self, observed: Float[np.ndarray, " bin"]) -> "Hypothesis":
        """The same with other data."""
        counts = jnp.asarray(observed, self.model.observed.dtype)
        parts = self.likelihood.experiments
        own = np.split(np.asarray(counts), np.cumsum([e.observed.size for e in parts])[:-1])
        likelihood = eqx.tree_at(lambda one: one.model.observed, self.likelihood, counts)
        held = [
            dataclasses.replace(e, observed=jnp.asarray(o), measured=True) for e, o in zip(parts, own, strict=True)
        ]
        likelihood = eqx.tree_at(lambda one: one.experiments, likelihood, tuple(held))
        changed = dataclasses.replace(
            self, likelihood=likelihood, model=eqx.tree_at(lambda m: m.observed, self.model, counts)
        )
        if self.strength is None:
            return changed
        free = eqx.tree_at(lambda m: m.observed, self.strength.model, counts)
        return dataclasses.replace(changed, strength=self.strength._replace(model=free))

    def truth(self, values: Mapping[str, Any] | None) -> Truth:
        """Nuisances and profiled parameters at values by name, the others nominal.

        Raises:
            ValueError: a name that is neither.
        """
        pulls, inner = (np.array(part) for part in self.nominal)
        names = [r.name for r in self.inner]
        for name, value in self.likelihood.parameters.full_values(values).items():
            record = self.likelihood.parameters[name]
            if name in names:
                inner[names.index(name)] = value
            elif name in self.nuisances and name != self.name:
                shape = record.kind == "shape"
                pulls[self.nuisances.index(name)] = value if shape else value / record.default - 1
            else:
                raise ValueError(
                    f"{name!r} is no nuisance of {self.name}: they are {', '.join([*self.nuisances, *names])}"
                )
        return Truth(pulls, inner)


@compiled
def _expected(model: Model, signals: Mixture, x: Any) -> Any:
    one = jax.vmap(models.expected_counts, (None, Mixture(None, 0, -1), 0))
    return one(model, signals, x)


def hypothesis(
    likelihood: Likelihood | Experiments,
    name: str,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
) -> Hypothesis:
    """A likelihood and one parameter of interest: of the theory, a flux or a nuisance.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter; its own constraint is off unless it is named in `constrained`.
        at: values of parameters that are fixed; the others that have no constraint are fixed at their defaults.
        profiled: parameters without constraint that are profiled.
        constrained: the parameter itself, to keep its constraint.

    Raises:
        ValueError: unknown parameter, a parameter in two roles, counts that do not depend on it.

    Example:
        >>> import numpy as np
        >>> from jcevns.statistics.hypothesis import hypothesis
        >>> flux = hypothesis("xenonnt-2024-s2", "flux")
        >>> [round(n, 2) for n in flux.looks(np.array([5.46e6]))[0].tolist()]  # events per bin at this flux
        [3.22, 5.15, 2.76]
    """
    likelihood = as_likelihood(likelihood)
    parameters = likelihood.parameters
    surface = Surface(likelihood, name, at, constrained, profiled)
    inner = surface.inner
    if inner:
        asked = parameters.full(profiled)
        freed = [n for n in asked if n not in inner]
        surface = Surface(likelihood, (name, *inner), at, (*parameters.full(constrained), *surface.kept), freed)
    model, layout, nuisances = surface.arrangement
    fixed = {n: v for n, v in surface.at.items() if n in nuisances}
    if fixed:
        x = np.asarray(internal(likelihood, fixed, surface.arrangement))
        places = np.array([nuisances.index(n) for n in fixed])
        limits = [np.asarray(limit).copy() for limit in (model.lower, model.upper)]
        for limit in limits:
            limit[places] = x[places]
        model = eqx.tree_at(lambda m: (m.lower, m.upper), model, tuple(map(jnp.asarray, limits)))
        layout = dataclasses.replace(layout, plain=False)
    record = surface.records[0]
    place = nuisances.index(record.name) if record.name in nuisances else None
    auxiliary = tuple(i for i, n in enumerate(surface.names) if n in surface.constrained and n not in nuisances)
    others = surface.records[1:]
    found = Hypothesis(likelihood, record, surface, others, model, layout, nuisances, place, auxiliary, None)
    values = _probes(record)
    looks = found.looks(values)
    if np.ptp(looks, axis=0).max(initial=0.0) <= 1e-12 * np.abs(looks).max(initial=0.0):
        raise ValueError(f"{', '.join(likelihood.names)}: counts do not depend on {record.name}, nothing to fit")
    if inner or auxiliary or place is not None or record.lower < 0:
        return found
    return dataclasses.replace(found, strength=_as_strength(found))


def _probes(record: Parameter) -> Float[np.ndarray, " point"]:
    """Values at which a signal is looked at, inside the bounds."""
    scale = record.scale or abs(record.default) or 1.0
    low = record.lower if np.isfinite(record.lower) else record.default - scale
    span = min(2.5 * scale, (record.upper - low) if np.isfinite(record.upper) else np.inf)
    return low + span * np.array([0.0, 0.2, 0.4, 0.6, 1.0])


def _as_strength(found: Hypothesis) -> Strength | None:
    """The parameter as a factor on components of the signal; None if it is something else."""
    model, record = found.model, found.record
    components = len(model.signals)
    if np.any(np.asarray(model.linear)[:components]):
        return None  # another free factor multiplies the signal
    values = _probes(record)
    rows = expand(found.surface.mixture(found.points(values))).T
    slope = (rows[2] - rows[0]) / (values[2] - values[0])
    start = rows[0] - values[0] * slope
    largest = np.max(np.abs(rows))
    if np.max(np.abs(rows - start - values[:, None] * slope)) > _RELATIVE * largest:
        return None
    anchors = rows_of(groups_of(found.likelihood.experiments))
    parts = [part.reshape(anchors, model.sources, -1) for part in (start, slope * values[-1])]
    loading = np.zeros(components)
    for k, (owner, source) in enumerate(model.signals):
        first, stop = found.layout.bins[owner]
        still, moving = (np.max(np.abs(part[:, source, first:stop]), initial=0.0) for part in parts)
        if min(still, moving) > _RELATIVE * largest:
            return None
        loading[k] = moving > _RELATIVE * largest
    if np.max(np.abs(start)) <= _RELATIVE * largest:
        start = None
    scale = record.default if record.default > 0 else record.scale or _unit_value(found, slope)
    terms = np.stack([scale * slope] if start is None else [start, scale * slope])
    return Strength(scale, terms, loading, _with_factor(model, loading, record.lower / scale, record.upper / scale))


def _unit_value(found: Hypothesis, slope: Float[np.ndarray, " anchor_bin"]) -> float:
    """Value at which the signal has as many events as were seen."""
    anchors = rows_of(groups_of(found.likelihood.experiments))
    return float(np.sum(found.surface.data) + 1.0) / (float(np.sum(slope)) / anchors)


def _with_factor(model: Model, loading: np.ndarray, lower: float, upper: float) -> Model:
    """The model with one more normalisation, a free factor on some components of the signal."""
    place = model.linear.shape[1]
    column = np.concatenate([loading, np.zeros(model.linear.shape[0] - loading.size)])

    def insert(values: Any, new: Any, axis: int = 0) -> Any:
        return jnp.asarray(np.insert(np.asarray(values), place, new, axis))

    parts = lambda m: (m.linear, m.logarithmic, m.sigma, m.centre, m.lower, m.upper)  # noqa: E731
    linear, logarithmic, *vectors = parts(model)
    wide = (insert(linear, 0.0, 1), insert(logarithmic, column, 1))
    fresh = (1.0, 0.0, -np.inf, np.inf)
    free = models.freed(
        eqx.tree_at(parts, model, (*wide, *(insert(v, x) for v, x in zip(vectors, fresh, strict=True)))), place
    )
    limits = (free.lower.at[place].set(lower), free.upper.at[place].set(upper))
    rows = tuple((*row, power) for row, power in zip(model.loading, column.tolist(), strict=True))
    return dataclasses.replace(eqx.tree_at(lambda m: (m.lower, m.upper), free, limits), loading=rows)
