"""Priors of the parameters of interest: what each may be, and what is usual for a parameter."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from jcevns.parameters import Parameter, Parameters
from jcevns.spelling import number, unknown

__all__ = [
    "PRIORS",
    "DistributionPrior",
    "Prior",
    "choose_priors",
    "default_prior",
    "parse_prior",
    "truncated_normal",
]

_AGREES = 1e-3  # relative: log_prob and the slope of icdf
_BELOW_ONE = 1 - 2**-53  # the largest probability below one


@dataclasses.dataclass(frozen=True)
class Prior:
    """A prior density.

    Attributes:
        kind: `uniform`, `log-uniform`, `normal` or `truncated` (normal).
        low: lower edge; of a normal minus infinity.
        high: upper edge.
        mean: of a normal.
        sd: of a normal.

    Example:
        >>> import jcevns as jc
        >>> prior = jc.Prior("truncated", low=0.0, mean=5.46e6, sd=0.66e6)
        >>> str(prior)  # as on the command line
        'truncated:5.46e+06:660000:0:inf'
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    mean: float = float("nan")
    sd: float = float("nan")

    def __post_init__(self):
        if self.kind not in PRIORS:
            raise ValueError(unknown("prior", self.kind, PRIORS))
        if not self.low < self.high:
            raise ValueError(f"{self.kind} prior: lower edge {self.low:g} must be below the upper {self.high:g}")
        if self.kind in ("uniform", "log-uniform") and not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"{self.kind} prior: both edges must be finite, it would not be a density")
        if self.kind == "log-uniform" and self.low <= 0:
            raise ValueError(f"log-uniform prior: lower edge {self.low:g} must be above 0")
        if self.kind in ("normal", "truncated") and not (math.isfinite(self.mean) and self.sd > 0):
            raise ValueError(f"{self.kind} prior: needs a finite mean and a positive sd")

    @property
    def _edges(self) -> tuple[float, float]:
        """Edges of a normal in units of its width."""
        return (self.low - self.mean) / self.sd, (self.high - self.mean) / self.sd

    def from_normal(self, score: Float[Array, "*point"]) -> Float[Array, "*point"]:
        """Value with the prior probability below it that a standard normal has below `score`.

        A standard normal score, mapped so, is distributed as the prior.
        """
        if self.kind == "uniform":
            return self.low + (self.high - self.low) * ndtr(score)
        if self.kind == "log-uniform":
            return self.low * jnp.exp(math.log(self.high / self.low) * ndtr(score))
        return self.mean + self.sd * truncated_normal(score, *map(jnp.asarray, self._edges))

    def log_density(self, values: Float[np.ndarray, "*point"]) -> Float[np.ndarray, "*point"]:
        """Logarithm of the density, minus infinity outside."""
        inside = (values >= self.low) & (values <= self.high)
        if self.kind == "uniform":
            log = np.full(values.shape, -math.log(self.high - self.low))
        elif self.kind == "log-uniform":
            log = -np.log(np.where(inside, values, 1.0)) - math.log(math.log(self.high / self.low))
        else:
            low, high = map(float, map(ndtr, self._edges))
            pull = (values - self.mean) / self.sd
            log = -(pull**2) / 2 - math.log(self.sd * math.sqrt(2 * math.pi) * (high - low))
        return np.where(inside, log, -np.inf)

    def __str__(self) -> str:
        """As on the command line."""
        if self.kind == "normal":
            return f"normal:{self.mean:g}:{self.sd:g}"
        if self.kind == "truncated":
            return f"truncated:{self.mean:g}:{self.sd:g}:{self.low:g}:{self.high:g}"
        return f"{self.kind}:{self.low:g}:{self.high:g}"


@dataclasses.dataclass(frozen=True)
class DistributionPrior:
    """A prior density from a distribution object: one of NumPyro, or of a class of your own.

    Attributes:
        distribution: with the methods `log_prob(value)` and `icdf(probability)`, of JAX arrays; a scalar. To cut it
            at the bounds of a parameter it needs `cdf(value)` too.
        low: lower edge; by default that of the distribution.
        high: upper edge.
        below: probabilities of the distribution below the edges.

    Raises:
        ValueError: a method is missing, they do not belong together, or the distribution is not that of one number.

    Example:
        >>> import jax.numpy as jnp
        >>> from numpyro import distributions as dist
        >>> from jcevns.statistics.priors import DistributionPrior
        >>> prior = DistributionPrior(dist.LogNormal(0.0, 1.0))
        >>> str(prior), prior.low, round(float(prior.from_normal(jnp.ones(()))), 3)  # e at +1 sigma
        ('LogNormal', 0.0, 2.718)
    """

    distribution: Any
    low: float = -math.inf
    high: float = math.inf
    kind: str = dataclasses.field(default="distribution", init=False)
    below: tuple[float, float] = dataclasses.field(default=(0.0, 1.0), init=False, repr=False)

    def __post_init__(self):
        name = str(self)
        try:
            middle = jnp.array([0.25, 0.5, 0.75])
            values = jnp.stack([jnp.asarray(self.distribution.icdf(p)) for p in middle])
            density = jnp.exp(jnp.stack([jnp.asarray(self.distribution.log_prob(x)) for x in values]))
            slope = jnp.stack([jax.grad(lambda p: jnp.sum(self.distribution.icdf(p)))(p) for p in middle])
        except (AttributeError, NotImplementedError):
            raise ValueError(
                f"prior {name} has no log_prob or no icdf: give an object with log_prob(value) and "
                "icdf(probability) of JAX arrays, or a text as 'normal:0:1'"
            ) from None
        except ImportError as error:
            raise ValueError(f"prior {name} has no icdf here: {error}") from None
        if values.shape != (3,) or density.shape != (3,):
            raise ValueError(f"prior {name} is not of one number: give each parameter a distribution of its own")
        if not np.allclose(density * slope, 1.0, rtol=_AGREES):
            raise ValueError(
                f"prior {name}: log_prob is not the density of icdf at 25%, 50%, 75%: the slope of icdf must be "
                "exp(-log_prob) there"
            )
        own = [float(self.distribution.icdf(jnp.asarray(p))) for p in (0.0, 1.0)]
        low = self.low if math.isnan(own[0]) else max(self.low, own[0])
        high = self.high if math.isnan(own[1]) else min(self.high, own[1])
        if not low < high:
            raise ValueError(f"prior {name}: nothing of it lies between {self.low:g} and {self.high:g}")
        first = 0.0 if math.isnan(own[0]) or low == own[0] else float(self.distribution.cdf(jnp.asarray(low)))
        last = 1.0 if math.isnan(own[1]) or high == own[1] else float(self.distribution.cdf(jnp.asarray(high)))
        for attribute, value in {"low": low, "high": high, "below": (first, last)}.items():
            object.__setattr__(self, attribute, value)

    def within(self, low: float, high: float) -> "DistributionPrior":
        """The prior cut at bounds.

        Raises:
            ValueError: it reaches beyond them, and has no `cdf` to be cut by.
        """
        if low <= self.low and self.high <= high:
            return self
        if not hasattr(self.distribution, "cdf"):
            raise ValueError(
                f"prior {self} reaches beyond [{low:g}, {high:g}]: give it a method cdf(value), and it is cut there"
            )
        return DistributionPrior(self.distribution, max(low, self.low), min(high, self.high))

    def from_normal(self, score: Float[Array, "*point"]) -> Float[Array, "*point"]:
        """Value with the prior probability below it that a standard normal has below `score`."""
        first, last = self.below
        p = first + (last - first) * ndtr(jnp.asarray(score))
        return self.distribution.icdf(jnp.clip(p, jnp.finfo(p.dtype).tiny, _BELOW_ONE))

    def log_density(self, values: Float[np.ndarray, "*point"]) -> Float[np.ndarray, "*point"]:
        """Logarithm of the density, minus infinity outside."""
        first, last = self.below
        inside = (values >= self.low) & (values <= self.high)
        middle = float(self.from_normal(jnp.zeros(())))
        log = np.asarray(self.distribution.log_prob(jnp.asarray(np.where(inside, values, middle))))
        return np.where(inside, log - math.log(last - first), -np.inf)

    def __str__(self) -> str:
        """Name of the class."""
        return type(self.distribution).__name__


def truncated_normal(
    score: Float[Array, "*#point"], low: Float[Array, "*#point"], high: Float[Array, "*#point"]
) -> Float[Array, "*point"]:
    """Standard normal score to a standard normal truncated to [low, high], precise in both tails."""
    flip = score > 0
    below, above = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    first = ndtr(below)
    x = ndtri(first + ndtr(jnp.where(flip, -score, score)) * (ndtr(above) - first))
    return jnp.where(flip, -x, x)


PRIORS: dict[str, Callable[..., dict[str, float]]] = {
    "uniform": lambda low, high: {"low": low, "high": high},
    "log-uniform": lambda low, high: {"low": low, "high": high},
    "normal": lambda mean, sd: {"mean": mean, "sd": sd},
    "truncated": lambda mean, sd, low, high: {"mean": mean, "sd": sd, "low": low, "high": high},
}
"""Kinds of prior and their numbers, in the order of the command line."""


def parse_prior(text: str) -> Prior:
    """Prior from `kind:number:...`, as in `uniform:0:3e7`, `log-uniform:1e-7:1e-3`, `normal:5.46e6:0.66e6`.

    Example:
        >>> from jcevns.statistics.priors import parse_prior
        >>> parse_prior("uniform:0:3e7").high
        30000000.0
    """
    kind, *numbers = text.split(":")
    if kind not in PRIORS:
        raise ValueError(unknown("prior", kind, PRIORS, "write it as uniform:0:3e7, or another of"))
    try:
        settings = PRIORS[kind](*map(number, numbers))
    except (TypeError, ValueError):
        names = PRIORS[kind].__code__.co_varnames
        raise ValueError(f"prior {text!r}: write {kind}:{':'.join(names)}, all numbers") from None
    return Prior(kind, **settings)


def _as_prior(given: Any) -> Prior | DistributionPrior:
    """From a text, a prior, or a distribution object."""
    if isinstance(given, str):
        return parse_prior(given)
    return given if isinstance(given, Prior | DistributionPrior) else DistributionPrior(given)


def choose_priors(
    records: Sequence[Parameter], priors: Mapping[str, Any] | None
) -> dict[str, Prior | DistributionPrior]:
    """Prior of every parameter by full name: the one given, by full or short name, else its default.

    Raises:
        ValueError: a prior without its parameter, one that reaches beyond the bounds, a parameter without any.
    """
    parameters = Parameters(records)
    given: dict[str, Prior | DistributionPrior] = {}
    for name, prior in (priors or {}).items():
        if name not in parameters:
            raise ValueError(f"prior for {name!r}, which is not among the parameters: {', '.join(parameters)}")
        record = parameters[name]
        given[record.name] = _within(record, _as_prior(prior))
    return {n: given.get(n) or default_prior(r, joint=len(parameters) > 1) for n, r in parameters.items()}


def _within(record: Parameter, prior: Prior | DistributionPrior) -> Prior | DistributionPrior:
    """A prior inside the bounds of its parameter: a normal, and what has a `cdf`, is cut there."""
    if isinstance(prior, DistributionPrior):
        return prior.within(record.lower, record.upper)
    if prior.kind == "normal" and (record.lower > prior.low or record.upper < prior.high):
        return Prior("truncated", record.lower, record.upper, prior.mean, prior.sd)
    if prior.low < record.lower or prior.high > record.upper:
        raise ValueError(
            f"prior {prior} of {record.name!r} reaches beyond [{record.lower:g}, {record.upper:g}]: cut it there"
        )
    return prior


def default_prior(record: Parameter, joint: bool = False) -> Prior:
    """Default prior of a parameter.

    Its constraint if it is sampled together with others, or has no other prior; else the prior of its record; else
    uniform between its bounds.

    Args:
        record: of the parameter.
        joint: whether others are sampled too: what else scales the signal cannot be told from a flux by the rate.

    Raises:
        ValueError: nothing says what is usual.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.Likelihood("xenonnt-2024-s2").parameters["flux"]
        >>> from jcevns.statistics.priors import default_prior
        >>> str(default_prior(flux)), str(default_prior(flux, joint=True))
        ('uniform:0:4e+07', 'truncated:5.46e+06:655200:0:inf')
    """
    bounded = math.isfinite(record.lower), math.isfinite(record.upper)
    if record.sigma is not None and (joint or not record.prior):
        if not any(bounded):
            return Prior("normal", mean=record.default, sd=record.sigma)
        return Prior("truncated", record.lower, record.upper, record.default, record.sigma)
    if record.prior:
        return parse_prior(record.prior)
    if all(bounded):
        return Prior("uniform", record.lower, record.upper)
    raise ValueError(
        f"parameter {record.name!r} has no default prior: give priors={{{record.name!r}: 'uniform:LOW:HIGH'}} or "
        f"--prior {record.name}=uniform:LOW:HIGH"
    )
