"""Bayesian evidence by importance sampling from Gaussians at the modes of the posterior.

The integral of likelihood times prior over all that is sampled, in standard normal scores: there every prior is a
unit normal, and the posterior is near a Gaussian where the data say much. Draws come from Gaussians with the
curvature at the modes, and one in ten from the prior itself: no weight is unbounded, and no region out of reach.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize

from jcevns.likelihood.likelihood import Experiments, Likelihood
from jcevns.precision import check_seed, require_x64
from jcevns.statistics.priors import Prior
from jcevns.statistics.sampled_model import sampled_model

__all__ = ["Evidence", "evidence"]

_STARTS = 12  # of the search for modes, drawn from the prior, and its middle
_APART = 0.5  # distance of modes in scores, below which they are one
_WIDER = 1.2  # of the Gaussians' covariance: their tails must not be thinner than those of the posterior
_FROM_PRIOR = 0.1  # of the draws
_LEAST = 400.0  # effective draws
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Evidence of a model: the probability of the data, integrated over the priors.

    Attributes:
        log_evidence: natural logarithm; the difference of two models with the same data is that of the Bayes factor.
        error: of it, from the number of draws.
        effective: draws that independent ones from the posterior would be worth, (sum w)^2 / sum w^2.
        draws: number of draws.
        modes: number of maxima of the posterior that Gaussians were put at.
        priors: as on the command line, by parameter.

    Example:
        >>> import jcevns as jc
        >>> two = [
        ...     jc.evidence("xenonnt-2024-s2", "flux", {"flux": prior}, draws=4000)
        ...     for prior in ("uniform:0:4e7", "normal:5.46e6:0.66e6")
        ... ]
        >>> round(two[1].log_evidence - two[0].log_evidence, 1)  # the solar model, against any flux
        1.7
    """

    log_evidence: float
    error: float
    effective: float
    draws: int
    modes: int
    priors: dict[str, str]


def evidence(
    likelihood: Likelihood | Experiments,
    free: str | Sequence[str],
    priors: Mapping[str, Prior | str | Any] | None = None,
    at: Mapping[str, Any] | None = None,
    draws: int = 20_000,
    seed: int = 1,
) -> Evidence:
    """Evidence of a model: parameters with priors, and nuisances with their constraints, as `sample` has them.

    The likelihood is the Poisson probability of the counts, factorials included.

    Args:
        likelihood: the experiments and the theory.
        free: parameters of interest. Their constraint is replaced by a prior.
        priors: as in `sample`.
        at: values of other parameters, fixed.
        draws: number of draws.
        seed: of the draws.

    Raises:
        ValueError: too few draws; as `sample` does.
        RuntimeError: in single precision; too few effective draws for the error to be believed.

    Example:
        >>> import jcevns as jc
        >>> found = jc.evidence("xenonnt-2024-s2", "sin2w", draws=4000)
        >>> found.error < 0.05
        True
    """
    check_seed(seed)
    require_x64("an evidence")
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 2 * _LEAST:
        raise ValueError(f"draws {draws!r} must be a whole number of {2 * _LEAST:.0f} or more")
    sampled = sampled_model(likelihood, free, priors, at)
    sampled.require_effect()
    stream = np.random.default_rng(seed)

    def log_density(scores: Float[Array, " sampled"]) -> Float[Array, ""]:
        """Of likelihood times prior."""
        log = jnp.sum(sampled.log_likelihood(*sampled.from_scores(scores)))
        return log - scores @ scores / 2 - sampled.size * math.log(2 * math.pi) / 2

    centres, roots, heights = _modes(log_density, sampled.size, stream)
    share = np.exp(heights - np.logaddexp.reduce(heights)) * (1 - _FROM_PRIOR)
    share = np.append(share, _FROM_PRIOR)
    centres = np.append(centres, np.zeros((1, sampled.size)), axis=0)
    roots = np.append(roots, np.eye(sampled.size)[None], axis=0)
    which = stream.choice(share.size, size=draws, p=share / share.sum())
    normal = stream.standard_normal((draws, sampled.size))
    scores = centres[which] + np.einsum("dij,dj->di", roots[which], normal)
    log = np.asarray(jax.lax.map(jax.jit(log_density), jnp.asarray(scores), batch_size=_AT_ONCE))
    weight = np.where(np.isfinite(log), log, -np.inf) - _log_mixture(scores, share, centres, roots)
    total = float(np.logaddexp.reduce(weight))
    effective = math.exp(2 * total - float(np.logaddexp.reduce(2 * weight))) if math.isfinite(total) else 0.0
    if not effective >= _LEAST:
        raise RuntimeError(
            f"the evidence rests on {effective:.0f} effective draws of {draws}, fewer than {_LEAST:.0f}: the "
            f"posterior is far from Gaussian; ask for more draws, as draws={10 * draws}, or narrower priors"
        )
    error = math.sqrt(max(1 / effective - 1 / draws, 0.0))
    texts = {name: str(prior) for name, prior in sampled.priors.items()}
    return Evidence(total - math.log(draws), error, effective, draws, len(heights), texts)


def _modes(log_density: Any, size: int, stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maxima, roots of the covariances of Gaussians there, and logarithms of their integrals."""
    value = jax.jit(jax.value_and_grad(lambda z: -log_density(z)))
    curvature = jax.jit(jax.hessian(lambda z: -log_density(z)))

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        height, slope = value(jnp.asarray(z))
        if not (np.isfinite(height) and np.all(np.isfinite(slope))):
            return 1e30, np.zeros_like(z)
        return float(height), np.asarray(slope)

    places: list[np.ndarray] = []
    roots, heights = [], []
    for start in np.append(np.zeros((1, size)), stream.standard_normal((_STARTS, size)), axis=0):
        found = minimize(objective, start, jac=True, method="L-BFGS-B")
        if found.fun >= 1e30 or any(np.linalg.norm(found.x - one) < _APART for one in places):
            continue
        bend, directions = np.linalg.eigh(np.asarray(curvature(jnp.asarray(found.x))))
        # Where the curvature is not that of a maximum the prior's stands in for it.
        width = np.sqrt(_WIDER / np.where(np.isfinite(bend) & (bend > 1e-6), bend, 1.0))
        places.append(found.x)
        roots.append(directions * width)
        heights.append(-found.fun + float(np.sum(np.log(width))) + size * math.log(2 * math.pi) / 2)
    if not places:
        raise RuntimeError("no maximum of the posterior was found: check the counts and backgrounds")
    return np.array(places), np.array(roots), np.array(heights)


def _log_mixture(scores: np.ndarray, share: np.ndarray, centres: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Logarithm of the density that the draws come from."""
    size, parts = scores.shape[1], []
    for part, centre, root in zip(share, centres, roots, strict=True):
        away = np.linalg.solve(root, (scores - centre).T)
        _, volume = np.linalg.slogdet(root)
        log = -np.sum(away**2, axis=0) / 2 - volume - size * math.log(2 * math.pi) / 2
        parts.append(log + math.log(part) if part > 0 else np.full(len(scores), -np.inf))
    return np.logaddexp.reduce(parts, axis=0)
