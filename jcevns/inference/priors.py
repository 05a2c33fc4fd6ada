"""Priors of the parameters of interest, by name."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from jcevns.constants import SIN2_THETA_W
from jcevns.physics.flux import B8_FLUX, B8_RELATIVE_ERROR
from jcevns.physics.nuclei import mirror_sin2w
from jcevns.spelling import unknown

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
    x = ndtri(first + ndtr(-jnp.abs(score)) * (ndtr(above) - first))
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
        >>> import jcevns as jc
        >>> jc.parse_prior("uniform:0:3e7").high
        30000000.0
    """
    kind, *numbers = text.split(":")
    if kind not in PRIORS:
        raise ValueError(unknown("prior", kind, PRIORS, "write it as uniform:0:3e7, or another of"))
    try:
        settings = PRIORS[kind](*map(float, numbers))
    except (TypeError, ValueError):
        names = PRIORS[kind].__code__.co_varnames
        raise ValueError(f"prior {text!r}: write {kind}:{':'.join(names)}, all numbers") from None
    return Prior(kind, **settings)


def choose_priors(names: Sequence[str], priors: Mapping[str, Prior] | None) -> dict[str, Prior]:
    """Prior of every parameter: the one given, else its default."""
    return {n: (priors or {}).get(n) or default_prior(n, joint=len(names) > 1) for n in names}


def default_prior(name: str, joint: bool = False) -> Prior:
    """Default prior of a parameter.

    Args:
        name: `flux`, `sin2w`, `mass` or `coupling`.
        joint: whether something else that scales the signal is sampled too: the flux then has the 12% of the solar
            model, for the rate alone cannot tell the two apart.
    """
    if name == "flux":
        if joint:
            return Prior("truncated", 0.0, math.inf, B8_FLUX, B8_RELATIVE_ERROR * B8_FLUX)
        return Prior("uniform", 0.0, 40e6)
    if name == "sin2w":
        return Prior("uniform", mirror_sin2w(), SIN2_THETA_W + 1.0)
    if name == "mass":
        return Prior("log-uniform", 1e-2, 1e4)
    if name == "coupling":
        return Prior("log-uniform", 1e-7, 1e-2)
    raise ValueError(unknown("parameter", name, ("flux", "sin2w", "mass", "coupling")))
