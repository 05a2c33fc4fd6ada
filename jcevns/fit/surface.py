"""chi2 as a function of chosen parameters, the others fixed or profiled: what fits, intervals and scans evaluate.

The signal comes from `jcevns.fit.terms`; nuisances that are chosen and act on more than signals stand still inside
the fit of the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jcevns.fit.batch import batch_size, logarithmic, prepare, profile_signals
from jcevns.fit.curvature import Curvature, curvature
from jcevns.fit.inner import InnerMinima
from jcevns.fit.terms import Terms
from jcevns.likelihood.arrangement import Arrangement
from jcevns.likelihood.likelihood import Experiments, Likelihood, arranged, as_likelihood
from jcevns.likelihood.model import Mixture
from jcevns.likelihood.poisson import negative
from jcevns.parameters import Parameter
from jcevns.physics.interaction import theory_parameters, with_values

__all__ = ["Evaluation", "Surface"]

_SMALLEST = 16  # few points are padded to few sizes, so that one compilation serves many


class Evaluation(NamedTuple):
    """chi2 at many points.

    Attributes:
        chi2: minimum over all that is profiled.
        gradient: in the chosen parameters; empty if not asked for.
        hessian: in the same; empty if not asked for.
        x: parameters of the model at the minima.
        profiled: values of the profiled parameters of the theory.
        edm: estimated distance to the minimum over the nuisances.
        valid: the fit is.
    """

    chi2: Float[np.ndarray, " point"]
    gradient: Float[np.ndarray, "point parameter"]
    hessian: Float[np.ndarray, "point parameter parameter"]
    x: Float[np.ndarray, "nuisance point"]
    profiled: Float[np.ndarray, "point profiled"]
    edm: Float[np.ndarray, " point"]
    valid: Bool[np.ndarray, " point"]


class _Held(NamedTuple):
    """A nuisance that stands still in the fit."""

    name: str
    place: int
    record: Parameter
    log: bool


class Surface:
    """chi2 of a likelihood in some of its parameters.

    Args:
        likelihood: the experiments and the theory.
        names: parameters that vary, full or short.
        at: values of others that are fixed.
        constrained: those of the varying ones that keep their Gaussian constraint; the others are free of it.
        profiled: parameters without constraint that are profiled too; those with one are anyway, unless they stand
            still (`Parameter.still`): these are if named, and keep it.
        released: those of the profiled ones that do not keep it.

    Raises:
        ValueError: an unknown name, a parameter in two roles, a fixed value beyond its bounds.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> surface = jc.Surface("xenonnt-2024-s2", ("sin2w", "flux"), constrained="flux")
        >>> found = surface.evaluate(np.array([[0.25, 5.46e6]]), order=2)
        >>> round(float(found.chi2[0]), 3), found.gradient.shape, found.hessian.shape
        (3.856, (1, 2), (1, 2, 2))
    """

    def __init__(
        self,
        likelihood: Likelihood | Experiments,
        names: str | Sequence[str],
        at: Mapping[str, Any] | None = None,
        constrained: str | Sequence[str] = (),
        profiled: str | Sequence[str] = (),
        released: Sequence[str] = (),
    ):
        self.likelihood = likelihood = as_likelihood(likelihood)
        parameters = likelihood.parameters
        self.names = parameters.full(names)
        if not self.names:
            raise ValueError("name at least one parameter: " + ", ".join(parameters))
        self.at = {n: float(v) for n, v in parameters.full_values(at).items()}
        keep = parameters.full(constrained)
        asked = parameters.full(profiled)
        for name in self.names:
            if name in self.at:
                raise ValueError(f"parameter {name!r} is both varied and fixed: name it once")
        for name in keep:
            if name not in self.names:
                raise ValueError(f"{name!r} is not among the parameters that vary: it keeps its constraint anyway")
            if not parameters[name].constrained:
                raise ValueError(f"parameter {name!r} has no constraint to keep")
        self.records = tuple(parameters[n] for n in self.names)
        self.constrained = keep
        own = theory_parameters(likelihood.theory)
        norms = likelihood.normalisations
        moving = [n for n, p in parameters.items() if n in asked or (p.constrained and not p.still)]
        self.inner = tuple(n for n in moving if n in own and n not in self.names and n not in self.at)
        loose = [n for n in asked if not parameters[n].still or n in released]
        self.kept = tuple(n for n in self.inner if parameters[n].constrained and n not in loose)
        freed = tuple(n for n in asked if n in norms and n not in self.names and n not in self.at)
        for name in asked:
            if name in self.names or name in self.at:
                raise ValueError(f"parameter {name!r} is profiled, and varied or fixed: name it once")
        self.theory = with_values(likelihood.theory, {n: v for n, v in self.at.items() if n in own})
        fixed = {n: v for n, v in self.at.items() if n in norms and norms[n].signal_only}
        self.terms = Terms(likelihood, self.theory, self.names, fixed)
        self.arrangement = self._arranged((*self.terms.absorbed, *fixed), freed)
        nuisances = self.arrangement.nuisances
        logs = logarithmic(self.arrangement.model)
        held = [n for n in (*self.names, *self.at) if n in nuisances]
        self._held = [_Held(n, nuisances.index(n), parameters[n], bool(logs[nuisances.index(n)])) for n in held]
        self._profiling: Surface | None = None
        self._minima = InnerMinima(self.inner, [parameters[n] for n in self.inner])
        self._freed = freed
        self._asked = tuple(n for n in self.inner if n in asked)
        self._released = tuple(released)
        if self.inner:
            self._profiling = Surface(
                likelihood,
                (*self.names, *self.inner),
                self.at,
                (*keep, *self.kept),
                freed,
            )

    def _arranged(self, absent: tuple[str, ...], freed: tuple[str, ...]) -> Arrangement:
        found = arranged(self.likelihood, absent, freed)
        free = [n for n in (*self.names, *self.at) if n in found.nuisances and n not in self.constrained]
        if not free:
            return found
        place = np.array([found.nuisances.index(n) for n in free])
        model = eqx.tree_at(lambda m: m.sigma, found.model, found.model.sigma.at[place].set(jnp.inf))
        return found._replace(model=model)

    def only(self, name: str, others: Mapping[str, float]) -> "Surface":
        """chi2 along one of the parameters, the others fixed."""
        keep = [name] if name in self.constrained else []
        freed = [n for n in self._freed if n != name]
        return Surface(self.likelihood, name, {**self.at, **others}, keep, [*freed, *self._asked], self._released)

    def along(self, place: int, start: Sequence[float] | np.ndarray) -> "Surface":
        """chi2 along one of the parameters, the others profiled, with the constraints that they have here."""
        name = self.names[place]
        others = [n for n in self.names if n != name]
        keep = [name] if name in self.constrained else []
        free = [n for n in others if n not in self.constrained]
        moved = [n for n in others if n in free or self.likelihood.parameters[n].still]
        asked = [*moved, *self._freed, *self._asked]
        found = Surface(self.likelihood, name, self.at, keep, asked, [*free, *self._released])
        found.start_at(dict(zip(self.names, map(float, start), strict=True)))
        return found

    def start_at(self, values: Mapping[str, float]) -> None:
        """Add a start for the profiled parameters of the theory."""
        self._minima.start = values

    def batch_size(self, points: int) -> int:
        """How many to fit at a time if there are so many points in all."""
        return batch_size(self.arrangement.layout, points, bool(self._held))

    def prepare(self, chunk: int | None = None) -> None:
        """Start compiling the fit of so many points at a time."""
        if not self._held:
            prepare(self.arrangement, chunk)

    @property
    def folded(self) -> tuple[str, ...]:
        """Parameters that the terms depend on."""
        return self.terms.folded

    def mixture(self, points: Float[np.ndarray, "point parameter"], order: int = 0) -> Mixture:
        """Signals at many points: terms, and their weights."""
        return self.terms.mixture(points, order)

    def signals(self, points: Float[np.ndarray, "point parameter"]) -> Float[np.ndarray, "point bin"]:
        """Signal in every bin at nominal shapes, all sources together."""
        return self.terms.bins(points)

    def impossible(
        self, points: Float[np.ndarray, "point parameter"], observed: Float[np.ndarray, "#point bin"] | None = None
    ) -> Bool[np.ndarray, " point"]:
        """Where no nuisance makes the data possible, and chi2 is infinite: by bins that have no background.

        Nothing expected where events were seen, or less than nothing. Other points may be impossible too.

        Args:
            points: values of the parameters, in the order of `names`.
            observed: counts, if they differ from those of the likelihood.
        """
        model = self.arrangement.model
        seen = (np.asarray(model.observed)[None] if observed is None else observed) > 0
        if model.anchors or model.moves or self.inner:
            return np.zeros(len(points), bool)
        background = np.asarray(model.background).sum(axis=0)
        bare = background == 0
        known = not model.sigma.size and model.sources == 1  # nothing to fit
        if not (known or np.any(bare)):
            return np.zeros(len(points), bool)
        signals = self.signals(points)
        counts = signals + background
        # Sources have factors of their own: together they may be less than nothing, and not for all factors.
        never = negative(counts) & (model.sources == 1) | (counts == 0) & seen
        return np.any((never | (counts <= 0) & seen) if known else never & bare, axis=1)

    @property
    def data(self) -> Float[np.ndarray, " bin"]:
        """Counts observed, or expected without signal if more: the scale of a standard deviation."""
        model = self.arrangement.model
        return np.maximum(np.asarray(model.observed), np.asarray(model.background).sum(axis=0))

    # Values and derivatives.

    def evaluate(
        self,
        points: Float[np.ndarray, "point parameter"],
        order: int = 0,
        chunk: int | None = None,
        progress: Callable[[int], None] = lambda points: None,
        along: Sequence[str] | None = None,
    ) -> Evaluation:
        """chi2 at many points, and its derivatives.

        Args:
            points: values of the parameters, in the order of `names`.
            order: 1 for the gradient, 2 for the Hessian too.
            chunk: points fitted at a time; `batch_size` if absent.
            progress: called with the number of points done after each chunk.
            along: full names of the parameters whose derivatives matter, those in the others may be wrong: terms that
                depend on none of these are folded without derivatives. All if absent.
        """
        points = np.atleast_2d(np.asarray(points, float))
        if self._profiling is not None:
            return self._evaluate_profiled(points, order, chunk)
        count = len(points)
        size = max(_SMALLEST, 2 ** int(np.ceil(np.log2(count)))) if count < 64 else count
        copies = np.minimum(np.arange(size), count - 1)
        padded = points[copies]
        mixture = self.mixture(padded, order if along is None or set(along) & set(self.folded) else 0)
        held = {h.place: _inside(h, self._value(h, points)) for h in self._held}
        asked = mixture._replace(row=mixture.row[:count], weights=mixture.weights[:, :count])
        fit = profile_signals(self.arrangement, asked, held, chunk or self.batch_size(size), progress)
        fit = type(fit)(*(found[..., copies] for found in fit))
        chi2, valid = fit.chi2.copy(), fit.valid.copy()
        gradient = np.zeros((size, len(self.names))) if order else np.zeros((size, 0))
        hessian = np.zeros((size, len(self.names), len(self.names))) if order > 1 else np.zeros((size, 0, 0))
        if order:
            slopes = self.slopes(padded, mixture, order)
            outer = np.concatenate([fit.slope, fit.held[[h.place for h in self._held]]])
            with np.errstate(over="ignore", invalid="ignore"):  # of parameters at the far end of an infinite range
                gradient = np.einsum("un,unp->np", outer, slopes[0])
                if order > 1:
                    found = self.curvature(mixture, fit.x)
                    value, bends = found.gradient, found.profiled
                    hessian = np.einsum("nuv,unp,vnq->npq", bends, slopes[0], slopes[0])
                    hessian = hessian + np.einsum("nu,unpq->npq", value, slopes[1])
                    gradient = np.einsum("nu,unp->np", value, slopes[0])
        for name in self.constrained:
            i = self.names.index(name)
            record = self.records[i]
            if name in self.arrangement.nuisances:
                continue  # its constraint is part of the model
            pull = (padded[:, i] - record.default) / record.width
            chi2 += pull**2
            if order:
                gradient[:, i] += 2 * pull / record.width
            if order > 1:
                hessian[:, i, i] += 2 / record.width**2
        return Evaluation(
            chi2[:count],
            gradient[:count],
            hessian[:count],
            fit.x[:, :count],
            np.zeros((count, 0)),
            fit.edm[:count],
            valid[:count],
        )

    def _value(self, held: _Held, points: np.ndarray) -> np.ndarray:
        if held.name in self.at:
            return np.full(len(points), self.at[held.name])
        return points[:, self.names.index(held.name)]

    def slopes(
        self, points: Float[np.ndarray, "point parameter"], mixture: Mixture, order: int
    ) -> tuple[Float[np.ndarray, "outer point parameter"], Float[np.ndarray, "..."]]:
        """Derivatives of the weights of a mixture, then of the nuisances that stand still, in the parameters."""
        first, second = self.terms.slopes(points, mixture, order)
        if not self._held:
            return first, second
        n, p = points.shape
        rows = np.zeros((len(self._held), n, p))
        bends = np.zeros((len(self._held), n, p, p))
        for k, held in enumerate(self._held):
            if held.name in self.at:
                continue
            i = self.names.index(held.name)
            value = points[:, i]
            rows[k, :, i] = 1 / value if held.log else 1 / held.record.reference
            bends[k, :, i, i] = -1 / value**2 if held.log else 0.0
        return np.concatenate([first, rows]), np.concatenate([second, bends]) if order > 1 else second

    def curvature(self, mixture: Mixture, x: Float[np.ndarray, "nuisance point"]) -> Curvature:
        """Second derivatives at minima, in the weights and the nuisances that stand still, and in the others."""
        return curvature(self.arrangement.model, mixture, x, [h.place for h in self._held])

    @property
    def whole(self) -> "Surface":
        """The same chi2 with the profiled parameters of the theory among those that vary, after the others."""
        return self if self._profiling is None else self._profiling

    # Profiling over parameters of the theory.

    def _evaluate_profiled(self, points: np.ndarray, order: int, chunk: int | None) -> Evaluation:
        """Minimum over the inner parameters at every point, by damped Newton steps from several starts."""
        full: Any = self._profiling  # there is one, or this is not called
        p = len(self.names)

        def objective(q: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            found = full.evaluate(np.concatenate([points[index], q], axis=1), 2, chunk)
            g, h = found.gradient[:, p:], found.hessian[:, p:, p:]
            return found.chi2, g, h, found.valid

        best = self._minima.minima(points, objective)
        found = full.evaluate(np.concatenate([points, best.x], axis=1), order, chunk)
        gradient, hessian = found.gradient[:, :p], found.hessian[:, :p, :p]
        if order > 1:
            a, b = found.hessian[:, :p, p:], found.hessian[:, p:, p:].copy()
            free = best.free
            b[~(free[:, :, None] & free[:, None, :])] = 0.0
            b += np.eye(len(self.inner)) * ~free[:, None, :]
            a = np.where(free[:, None, :], a, 0.0)
            with np.errstate(all="ignore"):
                hessian = hessian - a @ np.linalg.solve(b, np.swapaxes(a, 1, 2))
        return Evaluation(
            found.chi2, gradient, hessian, found.x, best.x, np.maximum(found.edm, best.edm), found.valid & best.valid
        )


def _inside(held: _Held, value: np.ndarray) -> np.ndarray:
    """A nuisance as the model moves it."""
    factor = value / held.record.reference
    with np.errstate(divide="ignore"):
        return np.log(factor) if held.log else factor
