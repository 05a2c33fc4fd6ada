"""Priors of the parameters of interest: what each may be, and what is usual for a parameter."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from jcevns.parameters import Parameter, Parameters
from jcevns.spelling import number, unknown

__all__ = ["PRIORS", "Prior", "choose_priors", "default_prior", "parse_prior", "truncated_normal"]


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


def choose_priors(records: Sequence[Parameter], priors: Mapping[str, Prior | str] | None) -> dict[str, Prior]:
    """Prior of every parameter by full name: the one given, by full or short name, else its default.

    Raises:
        ValueError: a prior without its parameter, one that reaches beyond the bounds, a parameter without any.
    """
    parameters = Parameters(records)
    given: dict[str, Prior] = {}
    for name, prior in (priors or {}).items():
        if name not in parameters:
            raise ValueError(f"prior for {name!r}, which is not among the parameters: {', '.join(parameters)}")
        record = parameters[name]
        given[record.name] = _within(record, parse_prior(prior) if isinstance(prior, str) else prior)
    return {n: given.get(n) or default_prior(r, joint=len(parameters) > 1) for n, r in parameters.items()}


def _within(record: Parameter, prior: Prior) -> Prior:
    """A prior inside the bounds of its parameter: a normal is cut there."""
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
