"""Random models with shape nuisances, fitted by the general minimiser, against scans of the shapes."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.testbench.check import best_strength, plain
from benchmarks.testbench.reference import Models, descend, evaluate, newton_decrement
from jcevns.fit.profile import fit_model
from jcevns.fit.validity import tolerances
from jcevns.likelihood.anchors import Group
from jcevns.likelihood.model import Model

__all__ = ["MODELS", "run"]

MODELS = 512  # of one part
_BINS, _BACKGROUNDS, _NORMALISATIONS = 12, 2, 3
_GRID, _ZOOM, _ROUNDS = 9, 7, 6  # points between first and last anchor, and in each round around the lowest
_CHI2, _EDM, _ZERO, _NEAR = 1e-6, 1e-8, 1e-130, 25.0
_SIDE = 1e-4  # of the range of a shape, to either side of a claimed minimum

VARIANTS = (((3,),), ((5,),), ((2,),), ((3, 3),), ((3,), (4,)))
"""Groups of shapes, each the number of anchors along its shapes; templates of several groups add up."""


class Shaped(NamedTuple):
    """Models of one variant, models first.

    Attributes:
        plain: without shapes: data, widths, loading; templates are nominal.
        groups: of the package.
        anchors: positions of the anchors of each shape.
        signal: at all anchors, (model, row, bin).
        moving: the first background at all anchors, the same.
    """

    plain: Models
    groups: tuple[Group, ...]
    anchors: tuple[np.ndarray, ...]
    signal: np.ndarray
    moving: np.ndarray

    def take(self, rows: np.ndarray) -> "Shaped":
        """Some of the models."""
        return self._replace(plain=self.plain.take(rows), signal=self.signal[rows], moving=self.moving[rows])

    def at(self, position: np.ndarray) -> Models:
        """Models with the shapes at positions, (model, shape)."""
        templates = self.plain.templates.copy()
        for row, table in ((0, self.signal), (1, self.moving)):
            total, shape, first = np.zeros((len(position), _BINS)), 0, 0
            for group in self.groups:
                block = table[:, first : first + group.rows].reshape(len(position), *group.sizes, _BINS)
                for size in group.sizes:
                    block, shape = _between(block, self.anchors[shape], size, position[:, shape]), shape + 1
                total, first = total + block, first + group.rows
            templates[:, row] = total - (len(self.groups) - 1) * table[:, self.groups[0].nominal]
        return self.plain._replace(templates=templates)


def _between(block: np.ndarray, anchors: np.ndarray, size: int, position: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis after the models."""
    weights = np.stack([np.interp(position, anchors, row) for row in np.eye(size)], axis=1)
    return np.einsum("na,na...->n...", weights, block)


def draw(rng: np.random.Generator, groups: tuple[tuple[int, ...], ...], count: int) -> Shaped:
    """Templates that bend at random, far from the data or near."""
    anchors, built = [], []
    for sizes in groups:
        place = []
        for size in sizes:
            nominal = int(rng.integers(0, size)) if size < 3 else size // 2
            steps = rng.uniform(0.5, 1.5, size - 1)
            positions = np.concatenate([[0.0], np.cumsum(steps)])
            anchors.append(positions - positions[nominal])
            place.append(nominal)
        built.append(Group(0, sizes, int(np.ravel_multi_index(place, sizes))))

    def tables(height: np.ndarray) -> np.ndarray:
        base = height * np.exp(rng.normal(0, 0.7, (count, 1, _BINS)))
        found = []
        for group in built:
            # Half of them bend smoothly, along a trend, half at random from anchor to anchor.
            jagged = rng.choice([0.03, 0.3], (count, 1, 1))
            size = (count, group.rows)
            trend = np.linspace(-0.5, 0.5, group.rows)[:, None] * rng.normal(0, 0.4, (count, 1, _BINS))
            bent = rng.normal(0, 1, (*size, 1)) + 0.7 * rng.normal(0, 1, (*size, _BINS))
            bent = base * np.exp(trend + jagged * bent)
            bent[:, group.nominal] = base[:, 0]
            found.append(bent)
        return np.concatenate(found, axis=1)

    signal = tables(10 ** rng.uniform(-1, 4, (count, 1, 1)))
    moving = tables(10 ** rng.uniform(-1, 3, (count, 1, 1)))
    still = 10 ** rng.uniform(-1, 3, (count, 1)) * np.exp(rng.normal(0, 1, (count, _BINS)))
    nominal = built[0].nominal
    templates = np.stack([signal[:, nominal], moving[:, nominal], still], axis=1)
    loading = (rng.random((1 + _BACKGROUNDS, _NORMALISATIONS)) < 0.4).astype(float)
    loading[0, 0] = loading[1, 1] = 1
    sigma = 10 ** rng.uniform(-2, 0, (count, _NORMALISATIONS))
    shaped = Shaped(
        Models(np.zeros((count, _BINS)), templates, loading, sigma, 1), tuple(built), tuple(anchors), signal, moving
    )
    position = np.stack([rng.uniform(a[0], a[-1], count) for a in anchors], axis=1)
    strength = rng.choice([0.0, 1.0, 1.0, 3.0], (count, 1)) * rng.choice([1.0, 0.1], (count, 1))
    true = shaped.at(position).templates
    mean = strength * true[:, 0] + true[:, 1] + true[:, 2] * np.exp(rng.normal(0, 0.2, (count, 1)))
    observed = rng.poisson(np.clip(mean, 0, 1e7)).astype(float)
    return shaped._replace(plain=shaped.plain._replace(observed=observed))


def _model(shaped: Shaped) -> Model:
    """Numbers of the first model, as the package has them."""
    plain_models, shapes = shaped.plain, len(shaped.anchors)
    loading = plain_models.loading
    alone = loading.sum(axis=1) == 1
    linear = ~loading[:1].any(axis=0) & np.all((loading == 0) | alone[:, None], axis=0) & loading.any(axis=0)
    ends = np.array([[a[0], a[-1]] for a in shaped.anchors])
    cast = lambda x: jnp.asarray(np.asarray(x, float))  # noqa: E731
    return Model(
        observed=cast(plain_models.observed[0]),
        owner=cast(np.ones((1, _BINS))),
        background=cast(plain_models.templates[0, 1:]),
        moving=cast(shaped.moving[:1]),
        linear=cast(loading * linear),
        logarithmic=cast(loading * ~linear),
        sigma=cast(np.concatenate([plain_models.sigma[0], np.ones(shapes)])),
        centre=cast(np.zeros(_NORMALISATIONS + shapes)),
        lower=cast(np.concatenate([np.where(linear, 0.0, -np.inf), ends[:, 0]])),
        upper=cast(np.concatenate([np.full(_NORMALISATIONS, np.inf), ends[:, 1]])),
        anchors=tuple(map(cast, shaped.anchors)),
        moves=(0,),
        groups=shaped.groups,
        signals=((0, 0),),
        loading=tuple(map(tuple, loading.tolist())),
        belongs=(0,) * len(loading),
    )


@jax.jit
def _fits(model: Model, observed: Any, background: Any, moving: Any, sigma: Any, signal: Any) -> tuple[Any, ...]:
    _, limit = tolerances(sigma.dtype)

    def one(D: Any, B: Any, M: Any, width: Any, s: Any) -> tuple[Any, ...]:
        parts = lambda m: (m.observed, m.background, m.moving, m.sigma)  # noqa: E731
        found = fit_model(eqx.tree_at(parts, model, (D, B, M, width)), s)
        return found.value, found.x, found.edm, found.reached(limit)

    return jax.vmap(one)(observed, background, moving, sigma, signal)


def _profile(shaped: Shaped, index: np.ndarray, position: np.ndarray) -> np.ndarray:
    """chi2 with the shapes at positions, over the normalisations."""
    models = shaped.take(index).at(position)
    value = descend(models, np.zeros_like(models.sigma))[0] + np.sum(position**2, axis=1)
    # A combination of shapes that takes more than there is, is no model.
    return np.where(np.any(models.templates.sum(axis=1) <= 0, axis=1), np.inf, value)


def _scanned(shaped: Shaped) -> tuple[np.ndarray, np.ndarray]:
    """The lowest chi2 over grids of the shapes, finer and finer around the lowest, and where."""
    count, shapes = len(shaped.signal), len(shaped.anchors)
    low, high = np.array([[a[0], a[-1]] for a in shaped.anchors]).T
    axes = [np.unique(np.concatenate([a, np.linspace(a[0], a[-1], _GRID)])) for a in shaped.anchors]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    best, place = np.full(count, np.inf), np.zeros((count, shapes))
    offsets = np.broadcast_to(grid, (count, *grid.shape))
    width = (high - low) / (_GRID - 1)
    unit = np.stack([g.ravel() for g in np.meshgrid(*[np.linspace(-1, 1, _ZOOM)] * shapes, indexing="ij")], axis=1)
    for _ in range(_ROUNDS):
        position = np.clip(offsets, low, high)
        index = np.repeat(np.arange(count), position.shape[1])
        chi2 = _profile(shaped, index, position.reshape(-1, shapes)).reshape(count, -1)
        chosen = np.argmin(chi2, axis=1)
        value = chi2[np.arange(count), chosen]
        lower = value < best
        best = np.where(lower, value, best)
        place = np.where(lower[:, None], position[np.arange(count), chosen], place)
        offsets = place[:, None] + unit * width
        width = width / 2.5
    return best, place


def run(seed: int, index: int, count: int = MODELS) -> dict[str, Any]:
    """Fit and judge models of one variant."""
    rng = np.random.default_rng([seed, index, 5])
    shaped = draw(rng, VARIANTS[index % len(VARIANTS)], count)
    given = shaped.plain
    sigma = np.concatenate([given.sigma, np.ones((count, len(shaped.anchors)))], axis=1)
    columns = (given.observed, given.templates[:, 1:], shaped.moving[:, None], sigma)
    signal = shaped.signal.reshape(count, -1)
    arrays = (jnp.asarray(c) for c in (*columns, signal))
    model = _model(shaped)
    chi2, x, edm, valid = map(np.asarray, _fits(model, *arrays))
    with np.errstate(all="ignore"):
        log = np.log(np.maximum(x[:, :_NORMALISATIONS], _ZERO))
    theta = np.where(np.any(np.asarray(model.linear) > 0, axis=0), log, x[:, :_NORMALISATIONS])
    position = x[:, _NORMALISATIONS:]
    point = evaluate(shaped.at(position), theta)
    own = (chi2 - point.chi2 - np.sum(position**2, axis=1)) / (1 + np.abs(chi2))
    decrement, _ = newton_decrement(point)
    reference, place = _scanned(shaped)
    everyone = np.arange(count)
    for k, a in enumerate(shaped.anchors):
        for side in (_SIDE, -_SIDE):
            beside = position.copy()
            beside[:, k] = np.clip(position[:, k] + side * (a[-1] - a[0]), a[0], a[-1])
            value = _profile(shaped, everyone, beside)
            place = np.where((value < reference)[:, None], beside, place)
            reference = np.minimum(reference, value)
    difference = (chi2 - reference) / (1 + np.abs(reference))
    flags = {
        "lower": valid & (difference > _CHI2),
        "chi2": valid & ~(np.abs(own) <= _CHI2),
        "gradient": valid & ~(decrement <= _EDM + 1e-13 * np.abs(chi2)),
    }
    false = np.any(list(flags.values()), axis=0)
    lost = ~valid & np.isfinite(reference)
    near = np.zeros(count, bool)
    asked = np.flatnonzero(false | lost)
    if asked.size:
        rest = np.sum(place[asked] ** 2, axis=1)
        best = best_strength(shaped.take(asked).at(place[asked]), np.zeros((asked.size, _NORMALISATIONS))) + rest
        near[asked] = reference[asked] - np.minimum(best, reference[asked]) < _NEAR
    kept = valid & ~false
    return {
        "models": count,
        "valid": int(valid.sum()),
        "false": [
            {
                "seed": seed,
                "index": index,
                "column": int(i),
                "why": [n for n, f in flags.items() if f[i]],
                "chi2": plain(chi2[i]),
                "reference": plain(reference[i]),
                "edm": plain(edm[i]),
                "near": bool(near[i]),
            }
            for i in np.flatnonzero(false)
        ],
        "lost": int(lost.sum()),
        "lost_near": int((lost & near).sum()),
        "impossible": int((~valid & ~np.isfinite(reference)).sum()),
        "worst": plain(np.max(difference[kept], initial=0.0)),
        "worst_value": plain(np.max(np.abs(own[kept]), initial=0.0)),
        "worst_decrement": plain(np.max(decrement[kept], initial=0.0)),
    }
