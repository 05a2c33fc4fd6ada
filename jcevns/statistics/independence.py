"""Posterior draws in milliseconds: independence Metropolis with the posterior of Laplace's method as its proposal.

In standard normal scores the prior is a unit sphere, which the data cut. The parameters of interest have a grid of
nodes; at each the others are Gaussian around their conditional mode, and their integral is the height of the node
(Tierney and Kadane, 1986). Proposals are drawn from that, all at once, and accepted as Metropolis and Hastings say:
the draws follow the posterior itself, and what the approximation gets wrong costs acceptance, not correctness. The
weights of the proposals give the evidence, and their Pareto shape tells whether the proposals cover the posterior
(arXiv:1507.02646).
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int
from scipy.interpolate import RegularGridInterpolator
from scipy.special import gammaln
from scipy.stats import norm

from jcevns.compiled import RUN_ONCE
from jcevns.likelihood.poisson import log_probability

__all__ = ["MOST_FREE", "Draws", "independent_draws"]

MOST_FREE = 3
"""Parameters of interest that the grid of nodes can have."""

_NODES = {1: 257, 2: 41, 3: 13}  # per axis, by the number of axes
_END = 6.0  # of the first grid, in scores
_DEPTH = 30.0  # log density below the highest node at which the grid may end
_ZOOMS, _ENOUGH = 12, 0.6  # times that the grid is laid closer, until what it holds fills this share of it
_STEPS = 10  # of Newton at a node
_SCALES = (1.0, 0.5, 0.2, 0.05)  # of a step: the best is taken
_FREEDOM = 10.0  # of Student's t of the others: heavier tails than the Gaussian
_BROAD = 0.01  # share of the prior in the proposal: nothing that the prior allows is out of reach
_CHUNK = 4096
_NODE_CHUNK = 257


@runtime_checkable
class Target(Protocol):
    """What is sampled: a Poisson likelihood of scores whose prior is standard normal."""

    @property
    def free(self) -> int:
        """Number of parameters of interest, the first of the scores."""
        ...

    @property
    def size(self) -> int:
        """Number of scores."""
        ...

    @property
    def observed(self) -> Float[Array, " bin"]:
        """Counts."""
        ...

    def given(self, interest: Float[Array, " free"]) -> Any:
        """What takes long and depends on the parameters of interest alone: once for each node."""
        ...

    def counts(self, scores: Float[Array, " score"], given: Any) -> Float[Array, " bin"]:
        """Expected counts, differentiable."""
        ...


@dataclasses.dataclass(frozen=True)
class Draws:
    """Draws in scores.

    Attributes:
        scores: of all that is sampled.
        acceptance: share of the proposals that were accepted.
        log_weights: of all proposals, posterior (normalised likelihood times priors) over proposal.
    """

    scores: Float[np.ndarray, "chain draw score"]
    acceptance: float
    log_weights: Float[np.ndarray, " proposal"]


def _height(target: Target, scores: Array, given: Any) -> Array:
    """Log of the likelihood, minus infinity where the expectation is not a number."""
    return jnp.sum(log_probability(target.counts(scores, given), target.observed))


def _node(target: Target, interest: Array) -> tuple[Array, Array, Array]:
    """Conditional mode of the others, Cholesky factor of their precision, and log of the integral over them."""
    size, given = target.size - target.free, target.given(interest)

    def height(others: Array) -> Array:
        scores = jnp.concatenate([interest, others])
        return _height(target, scores, given) - jnp.sum(scores**2) / 2

    def information(others: Array) -> tuple[Array, Array]:
        """Slope of the height, and Fisher's information, positive whatever the counts."""

        def counts(others: Array) -> tuple[Array, Array]:
            found = target.counts(jnp.concatenate([interest, others]), given)
            return found, found

        slopes, found = jax.jacfwd(counts, has_aux=True)(others)
        mean = jnp.where(found > 0, found, 1.0)
        slope = slopes.T @ jnp.where(found > 0, target.observed / mean - 1.0, 0.0) - others
        return slope, (slopes.T / mean) @ slopes + jnp.eye(size)

    def step(_: Array, others: Array) -> Array:
        slope, precision = information(others)
        move = cho_solve((jnp.linalg.cholesky(precision), True), slope)
        tried = jnp.stack([others, *(others + scale * move for scale in _SCALES)])
        return tried[jnp.argmax(jax.vmap(height)(tried))]

    mode = jax.lax.fori_loop(0, _STEPS, step, jnp.zeros(size))
    factor = jnp.linalg.cholesky(information(mode)[1])
    integral = height(mode) + size / 2 * math.log(2 * math.pi) - jnp.sum(jnp.log(jnp.diagonal(factor)))
    return mode, factor, integral


# Compiled once for a target, whatever is asked of it later.
@partial(jax.jit, static_argnums=0, compiler_options=RUN_ONCE)
def _nodes(target: Target, interest: Float[Array, "node free"]) -> tuple[Array, Array, Array]:
    return jax.vmap(partial(_node, target))(interest)


@partial(jax.jit, static_argnums=0)
def _heights(target: Target, scores: Float[Array, "draw score"]) -> tuple[Array]:
    return (jax.vmap(lambda one: _height(target, one, target.given(one[: target.free])))(scores),)


def _chunked(call: Callable[[Array], tuple[Array, ...]], rows: np.ndarray, chunk: int) -> tuple[np.ndarray, ...]:
    """A batched function of rows, in chunks of one size: compiled once."""
    parts = []
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk]
        padded = np.concatenate([part, np.repeat(part[-1:], chunk - len(part), axis=0)])
        parts.append([np.asarray(found)[: len(part)] for found in call(jnp.asarray(padded))])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


class _Proposal:
    """The posterior by Laplace's method: a grid of the parameters of interest, the others given them.

    Args:
        target: what is sampled.
    """

    def __init__(self, target: Target):
        self.size, self.free = target.size, target.free
        ends = [(-_END, _END)] * self.free
        mode, height = self._at_nodes(target, ends)
        for _ in range(_ZOOMS):
            closer = self._ends(height)
            if all(b - a > _ENOUGH * (high - low) for (a, b), (low, high) in zip(closer, ends, strict=True)):
                break
            ends = closer
            mode, height = self._at_nodes(target, ends)
        shape = tuple(len(axis) for axis in self.axes)
        self.steps = np.array([axis[1] - axis[0] for axis in self.axes])
        weight = np.exp(height - height.max())
        self.weight = weight / weight.sum()
        self.density = RegularGridInterpolator(
            self.axes, self.weight.reshape(shape) / np.prod(self.steps), bounds_error=False, fill_value=0.0
        )
        self.mode = RegularGridInterpolator(self.axes, mode.reshape(*shape, -1))

    def _at_nodes(self, target: Target, ends: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Set the grid between these ends; modes of the others at its nodes, and heights."""
        self.axes = [np.linspace(low, high, _NODES[self.free]) for low, high in ends]
        self.mesh = np.stack([m.ravel() for m in np.meshgrid(*self.axes, indexing="ij")], axis=1)
        mode, self.factor, height = _chunked(partial(_nodes, target), self.mesh, _NODE_CHUNK)
        if not np.any(np.isfinite(height)):
            raise RuntimeError("no value of the parameters that the priors allow can give these counts: check both")
        return mode, np.where(np.isfinite(height), height, -np.inf)

    def _ends(self, height: np.ndarray) -> list[tuple[float, float]]:
        """Ranges of the axes outside of which no node is within reach of the highest."""
        near = (height > height.max() - _DEPTH).reshape([len(axis) for axis in self.axes])
        ends = []
        for place, axis in enumerate(self.axes):
            there = np.flatnonzero(near.any(axis=tuple(i for i in range(near.ndim) if i != place)))
            ends.append((float(axis[max(there[0] - 1, 0)]), float(axis[min(there[-1] + 1, len(axis) - 1)])))
        return ends

    def _nearest(self, interest: np.ndarray) -> Int[np.ndarray, " draw"]:
        low, most = np.array([a[0] for a in self.axes]), [len(a) - 1 for a in self.axes]
        index = np.clip(np.rint((interest - low) / self.steps), 0, most).astype(int)
        return np.asarray(np.ravel_multi_index(tuple(index.T), [len(a) for a in self.axes]))

    def _centre(self, interest: np.ndarray) -> np.ndarray:
        """Conditional mode of the others; beyond the grid, that of its edge."""
        return self.mode(np.clip(interest, [a[0] for a in self.axes], [a[-1] for a in self.axes]))

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draw score"]:
        """Scores: a node by its height with a triangle around it, which is the grid's linear interpolation."""
        chosen = self.mesh[rng.choice(len(self.mesh), count, p=self.weight)]
        interest = chosen + self.steps * rng.triangular(-1.0, 0.0, 1.0, chosen.shape)
        broad = rng.random(count) < _BROAD
        interest[broad] = rng.standard_normal((int(broad.sum()), self.free))
        unit = rng.standard_normal((count, self.size - self.free))
        unit /= np.sqrt(rng.chisquare(_FREEDOM, count) / _FREEDOM)[:, None]
        factor = np.swapaxes(self.factor[self._nearest(interest)], 1, 2)
        others = self._centre(interest) + np.linalg.solve(factor, unit[..., None])[..., 0]
        return np.concatenate([interest, others], axis=1)

    def log_density(self, scores: Float[np.ndarray, "draw score"]) -> Float[np.ndarray, " draw"]:
        """Log density of what `draw` gives."""
        interest, others = scores[:, : self.free], scores[:, self.free :]
        broad = np.exp(norm.logpdf(interest).sum(axis=1))
        inner = np.log((1 - _BROAD) * self._inside(interest) + _BROAD * broad)
        factor = self.factor[self._nearest(interest)]
        unit = np.einsum("nji,nj->ni", factor, others - self._centre(interest))
        size = self.size - self.free
        wide = gammaln((_FREEDOM + size) / 2) - gammaln(_FREEDOM / 2) - size / 2 * math.log(_FREEDOM * math.pi)
        tails = (_FREEDOM + size) / 2 * np.log1p(np.sum(unit**2, axis=1) / _FREEDOM)
        return inner + wide - tails + np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)

    def _inside(self, interest: np.ndarray) -> np.ndarray:
        """Density of the grid's part; triangles of the outermost nodes reach one step beyond the grid."""
        low, high = np.array([a[0] for a in self.axes]), np.array([a[-1] for a in self.axes])
        beyond = np.maximum(np.maximum(low - interest, interest - high), 0.0) / self.steps
        edge = np.prod(np.clip(1 - beyond, 0.0, None), axis=1)
        return edge * self.density(np.clip(interest, low, high))


def independent_draws(target: Target, chains: int, samples: int, seed: int) -> Draws:
    """Draws of a posterior in scores whose prior is standard normal.

    Args:
        target: what is sampled, with 1 to `MOST_FREE` parameters of interest.
        chains: independent chains.
        samples: draws of each.
        seed: of everything random.

    Raises:
        ValueError: more parameters of interest than a grid can have.
        RuntimeError: the data are impossible wherever the priors reach.
    """
    if not 1 <= target.free <= MOST_FREE:
        raise ValueError(
            f"{target.free} parameters of interest: independence draws take 1 to {MOST_FREE}, method nuts any number"
        )
    rng = np.random.default_rng(seed)
    proposal = _Proposal(target)
    first = max(samples // 10, 10)  # forgets the start
    scores = proposal.draw(chains * (samples + first), rng)
    (found,) = _chunked(partial(_heights, target), scores, _CHUNK)
    log_weights = found + norm.logpdf(scores).sum(axis=1) - proposal.log_density(scores)
    kept = _metropolis(log_weights.reshape(chains, -1), rng)
    acceptance = float(np.mean(np.diff(kept, axis=1) != 0))
    chosen = scores.reshape(chains, -1, target.size)[np.arange(chains)[:, None], kept[:, first:]]
    return Draws(chosen, acceptance, log_weights)


def _metropolis(
    log_weights: Float[np.ndarray, "chain proposal"], rng: np.random.Generator
) -> Int[np.ndarray, "chain proposal"]:
    """Which proposal each chain is at, step by step."""
    limit, every = np.log(rng.random(log_weights.shape)), np.arange(len(log_weights))
    here, kept = np.zeros(len(log_weights), int), np.empty(log_weights.shape, int)
    for step in range(log_weights.shape[1]):
        with np.errstate(invalid="ignore"):  # of two proposals without probability
            better = log_weights[:, step] - log_weights[every, here] >= limit[:, step]
        kept[:, step] = here = np.where(better, step, here)
    return kept
