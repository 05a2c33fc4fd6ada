"""Random binned models, fitted in batches of one structure and checked one by one."""

import itertools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.testbench.check import DOUBLE, SINGLE, Claims, judge, merge
from benchmarks.testbench.reference import Models
from jcevns.fit.newton import batch_fit
from jcevns.fit.profile import fit_model
from jcevns.fit.validity import tolerances
from jcevns.likelihood.layout import Component, Layout, elimination_order
from jcevns.likelihood.model import Model

__all__ = ["CALL", "CALLS", "Structure", "draw", "fit", "rebuild", "run", "structure"]

CALL = 512  # models in one call of a compiled program
CALLS = 8  # of one structure
_WRITTEN_OUT = 16  # bins of an experiment, above which the batched fit takes one set of backgrounds a call
_MOST_BINS, _MOST_COMPONENTS, _MOST_NUISANCES, _MOST_EXPERIMENTS = 40, 6, 12, 3
_LARGEST_COUNT, _SIGMAS = 1e7, (1e-3, 5.0)
_LOST = 1e-11  # of chi2: the package tries no fit again whose distance to the minimum is below
_AGAIN = 16
_ZERO = 1e-130  # stands for a factor of zero, that it has a logarithm


class Structure(NamedTuple):
    """Which nuisance acts on which component of which bins.

    Attributes:
        layout: of the package.
        loading: 1 where a nuisance (column) acts on a component (row; signals, one per experiment, first).
        owner: experiment of each bin.
        experiment: of each component.
    """

    layout: Layout
    loading: np.ndarray
    owner: np.ndarray
    experiment: np.ndarray

    @property
    def signals(self) -> int:
        """Components that are signals, one per experiment."""
        return len(self.layout.signals)

    @property
    def shared_backgrounds(self) -> bool:
        """Whether all models of a call have the same backgrounds."""
        return max(stop - first for first, stop in self.layout.bins) > _WRITTEN_OUT


def structure(rng: np.random.Generator) -> Structure:
    """1 to 3 experiments of 1 to 40 bins in all, 1 to 6 components, 0 to 12 nuisances."""
    experiments = int(rng.choice([1, 2, 3], p=[0.65, 0.2, 0.15]))
    low, high = [(1, 1), (2, 5), (6, 16), (17, _MOST_BINS)][rng.choice(4, p=[0.15, 0.35, 0.25, 0.25])]
    bins = max(int(rng.integers(low, high + 1)), experiments)
    cuts = np.sort(rng.choice(np.arange(1, bins), experiments - 1, replace=False)) if bins > 1 else np.empty(0, int)
    edges = [0, *cuts.tolist(), bins]
    pairs = tuple(itertools.pairwise(edges))
    backgrounds = int(rng.integers(0, _MOST_COMPONENTS - experiments + 1))
    owners = np.sort(rng.integers(0, experiments, backgrounds))
    experiment = np.concatenate([np.arange(experiments), owners])
    nuisances = 0 if rng.random() < 0.1 else int(rng.integers(1, _MOST_NUISANCES + 1))
    loading = np.zeros((experiment.size, nuisances))
    for j in range(nuisances):
        kind = rng.random()
        if kind < 0.2:  # a flux
            loading[:experiments, j] = 1
        else:
            count = 1 if kind < 0.75 else int(rng.integers(1, experiment.size + 1))
            loading[rng.choice(experiment.size, count, replace=False), j] = 1
    acting = [tuple(np.flatnonzero(row).tolist()) for row in loading]
    signals = tuple(Component(e, 0, acting[e]) for e in range(experiments))
    others = tuple(Component(int(e), k, acting[experiments + k]) for k, e in enumerate(owners))
    order = elimination_order((*signals, *others), nuisances)
    owner = np.repeat(np.arange(experiments), np.diff(edges))
    return Structure(Layout(pairs, signals, others, nuisances, order, True), loading, owner, experiment)


def draw(found: Structure, rng: np.random.Generator, count: int = CALL) -> Models:
    """Models of a structure: empty bins, no background, data near and far from what is expected, huge signals."""
    bins, components, signals = found.owner.size, found.experiment.size, found.signals
    inside = found.experiment[:, None] == found.owner

    def size(low: float, high: float, *shape: int) -> np.ndarray:
        return 10 ** rng.uniform(low, high, shape)

    def shapes(rows: int, of: int) -> np.ndarray:
        """Templates of unit size, some flat, some uneven, some with empty bins."""
        uneven = rng.choice([0.0, 0.5, 2.0], (of, rows, 1))
        empty = rng.random((of, rows, bins)) < rng.choice([0.0, 0.0, 0.3], (of, rows, 1))
        return np.where(empty, 0.0, np.exp(uneven * rng.standard_normal((of, rows, bins))))

    n = 1 if found.shared_backgrounds else count
    scale = size(-3, 7, n, 1, 1) * size(-1, 1, n, components - signals, 1)
    background = shapes(components - signals, n) * scale * (rng.random((n, 1, 1)) > 0.15)
    background = np.broadcast_to(np.minimum(background, _LARGEST_COUNT), (count, *background.shape[1:]))
    huge = rng.random((count, 1, 1)) < 0.15
    height = np.where(huge, size(7, 12, count, 1, 1), size(-3, 7, count, 1, 1))
    signal = np.minimum(shapes(signals, count) * height * size(-0.5, 0.5, count, signals, 1), 1e12)
    # Interference may take more than there is.
    signal = np.where((rng.random((count, 1, 1)) < 0.02) & (rng.random(signal.shape) < 0.5), -signal, signal)
    templates = np.concatenate([signal, background], axis=1) * inside
    nuisances = found.loading.shape[1]
    sigma = size(np.log10(_SIGMAS[0]), np.log10(_SIGMAS[1]), count, nuisances)
    true = np.maximum(np.abs(1 + sigma * rng.standard_normal(sigma.shape)), 1e-3)
    strength = np.where(rng.random((count, 1)) < 0.3, 0.0, size(-2, 1, count, 1))
    strength = np.where(rng.random((count, 1)) < 0.4, 1.0, strength)
    factor = np.exp(np.log(true) @ found.loading.T)
    factor[:, :signals] *= strength
    mean = np.clip(np.einsum("nc,ncb->nb", factor, templates), 0.0, _LARGEST_COUNT)
    unrelated = np.broadcast_to(size(-1, 7, count, 1), mean.shape)
    kind = rng.random((count, 1))
    mean = np.where(kind < 0.1, unrelated, np.where(kind < 0.15, 0.0, mean))
    observed = np.minimum(rng.poisson(mean), _LARGEST_COUNT).astype(float)
    return Models(observed, templates, found.loading, sigma, signals)


def _model(found: Structure, models: Models, dtype: Any) -> Model:
    """The models as the batched fit takes them, model axis last; backgrounds without it where they are shared."""
    signals, bins = found.signals, found.owner.size
    background = models.templates[:, signals:]
    owner = (np.arange(signals)[:, None] == found.owner).astype(float)
    one = _numbers(np.zeros(bins), owner, background[0], found, models.sigma[0], dtype)
    one = eqx.tree_at(lambda m: m.sigma, one, jnp.asarray(np.asarray(models.sigma.T, dtype)))
    if found.shared_backgrounds:
        return one
    return eqx.tree_at(lambda m: m.background, one, jnp.asarray(np.asarray(np.moveaxis(background, 0, -1), dtype)))


def _numbers(
    observed: np.ndarray,
    owner: np.ndarray,
    background: np.ndarray,
    found: Structure,
    sigma: np.ndarray,
    dtype: Any,
) -> Model:
    loading, signals = found.loading, found.signals
    nuisances = loading.shape[1]
    alone = loading.sum(axis=1) == 1
    linear = ~loading[:signals].any(axis=0) & np.all((loading == 0) | alone[:, None], axis=0) & loading.any(axis=0)
    low, high = np.where(linear, 0.0, -np.inf), np.full(nuisances, np.inf)
    cast = lambda x: jnp.asarray(np.asarray(x, dtype))  # noqa: E731
    return Model(
        observed=cast(observed),
        owner=cast(owner),
        background=cast(background),
        moving=cast(np.zeros((0, 1, owner.shape[1]))),
        linear=cast(loading * linear),
        logarithmic=cast(loading * ~linear),
        sigma=cast(sigma),
        centre=cast(np.zeros(nuisances)),
        lower=cast(low),
        upper=cast(high),
        anchors=(),
        moves=(),
        groups=(),
        signals=tuple((e, 0) for e in range(owner.shape[0])),
        loading=tuple(map(tuple, loading.tolist())),
        belongs=tuple(found.experiment.tolist()),
    )


@jax.jit
def _general(model: Model, observed: Any, background: Any, sigma: Any, signal: Any) -> tuple[Any, ...]:
    """The general minimiser for models that share a structure."""
    _, limit = tolerances(sigma.dtype)

    def one(D: Any, B: Any, width: Any, s: Any) -> tuple[Any, ...]:
        here = eqx.tree_at(lambda m: (m.observed, m.background, m.sigma), model, (D, B, width))
        found = fit_model(here, s)
        return found.value, found.x, found.edm, found.reached(limit)

    return jax.vmap(one)(observed, background, sigma, signal)


def fit(found: Structure, models: Models, dtype: Any = np.float64) -> Claims:
    """The batched fit; what it calls invalid is fitted again by the general one, as scans and toys do."""
    signal = models.templates[:, : found.signals].sum(axis=1).T
    given = (jnp.asarray(np.asarray(x, dtype)) for x in (signal, models.observed.T))
    chi2, theta, edm, _, valid = map(np.array, batch_fit(found.layout, _model(found, models, dtype), *given)[:5])
    theta = theta.T.copy()
    _, limit = tolerances(np.dtype(dtype))
    failed = np.flatnonzero(~valid & (~(edm < _LOST * chi2) | (edm < limit)))
    nuisances = found.loading.shape[1]
    for first in range(0, failed.size if nuisances else 0, _AGAIN):
        part = failed[first : first + _AGAIN]
        these = models.take(np.resize(part, _AGAIN))
        background, signal = these.templates[:, found.signals :], these.templates[:, : found.signals].sum(axis=1)
        owner = (np.arange(found.signals)[:, None] == found.owner).astype(float)
        columns = (these.observed, background, these.sigma, signal)
        model = _numbers(these.observed[0], owner, background[0], found, these.sigma[0], dtype)
        given = (jnp.asarray(np.asarray(c, dtype)) for c in columns)
        value, x, distance, good = map(np.asarray, _general(model, *given))
        with np.errstate(all="ignore"):
            log = np.where(np.asarray(model.is_linear), np.log(np.maximum(x, _ZERO)), x)
        kept = np.flatnonzero(good[: part.size])
        rows = part[kept]
        chi2[rows], edm[rows], valid[rows] = value[kept], distance[kept], True
        theta[rows] = log[kept]
    return Claims(chi2.astype(float), theta.astype(float), edm.astype(float), valid)


def rebuild(seed: int, index: int, call: int) -> tuple[Structure, Models]:
    """The models of one call, the same for the same numbers."""
    found = structure(np.random.default_rng([seed, index]))
    return found, draw(found, np.random.default_rng([seed, index, call]))


def run(seed: int, index: int, calls: int = CALLS, dtype: Any = np.float64) -> dict[str, Any]:
    """Fit and judge the models of one structure."""
    parts = []
    for call in range(calls):
        found, models = rebuild(seed, index, call)
        with jax.enable_x64(dtype == np.float64):
            claims = fit(found, models, dtype)
        rng = np.random.default_rng([seed, index, call, 1])
        part = judge(models, claims, rng, tolerance=DOUBLE if dtype == np.float64 else SINGLE)
        part["false"] = [{"seed": seed, "index": index, "call": call, **row} for row in part["false"]]
        parts.append(part)
    return merge(parts)
