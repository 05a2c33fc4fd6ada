"""Poisson chi2 of templates that also change shape: multilinear between anchors, as blueice does, with kinks there.

The changes that different groups of shapes make to a template add up.

Its parameters are the normalisations, then one position per shape nuisance. Where `TemplateModel` holds log-factors,
a factor is here the parameter itself if it multiplies its components alone: it may then reach zero in a step.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcevns.likelihood.anchors import Group
from jcevns.likelihood.poisson import poisson_chi2

__all__ = [
    "Derivatives",
    "Mixture",
    "MorphingModel",
    "chi2",
    "component_counts",
    "derivatives",
    "expected_counts",
    "nearest_cell",
    "pulls",
    "signal_slope",
    "starts",
    "with_strength",
]


class MorphingModel(eqx.Module):
    """Numbers of a binned likelihood with shape nuisances; there may be none.

    Attributes:
        observed: counts.
        owner: 1 where a bin belongs to an experiment, else 0.
        background: templates, zero outside their experiment's bins; unused where a moving one takes their place.
        moving: templates at the anchors (see `groups`), of the backgrounds that change shape.
        linear: 1 where a nuisance (column) acts on a component (row: signals, then backgrounds) by its factor.
        logarithmic: the same where it acts by the logarithm of its factor.
        sigma: widths of all nuisances, infinite for a free one; relative for normalisations.
        centre: where each is constrained to, as a pull: 0 but in toys.
        lower: limits of the parameters.
        upper: limits of the parameters.
        anchors: positions of the anchors of each shape nuisance.
        moves: which backgrounds move.
        groups: the shapes in groups, whose rows of templates follow each other.
    """

    observed: Float[Array, " bin"]
    owner: Float[Array, "experiment bin"]
    background: Float[Array, "background bin"]
    moving: Float[Array, "moving row bin"]
    linear: Float[Array, "component normalisation"]
    logarithmic: Float[Array, "component normalisation"]
    sigma: Float[Array, " nuisance"]
    centre: Float[Array, " nuisance"]
    lower: Float[Array, " nuisance"]
    upper: Float[Array, " nuisance"]
    anchors: tuple[Float[Array, "_"], ...]
    moves: tuple[int, ...] = eqx.field(static=True)
    groups: tuple[Group, ...] = eqx.field(static=True)

    @property
    def is_linear(self) -> Bool[Array, " normalisation"]:
        """Whether the parameter of a normalisation is its factor."""
        return jnp.any(self.linear > 0, axis=0)

    @property
    def is_log(self) -> Bool[Array, " nuisance"]:
        """Whether a parameter is the logarithm of a factor."""
        return jnp.concatenate([~self.is_linear, jnp.zeros(len(self.anchors), bool)])

    @property
    def unit(self) -> Float[Array, " nuisance"]:
        """Value at nominal: 1 for a factor, 0 for the position of a shape."""
        return jnp.where(jnp.arange(self.sigma.size) < self.linear.shape[1], jnp.ones_like(self.sigma), 0.0)

    @property
    def nominal(self) -> Float[Array, " nuisance"]:
        """Parameters at which nothing is pulled."""
        return jnp.where(self.is_log, 0.0, self.unit)


def with_strength(model: MorphingModel) -> MorphingModel:
    """The same model with a free strength of the signal, from 0 up, as the last of the normalisations."""
    place = model.linear.shape[1]
    signals = jnp.where(jnp.arange(model.linear.shape[0]) < model.owner.shape[0], 1.0, 0.0)

    def insert(values: Array, value: float) -> Array:
        return jnp.insert(values, place, value)

    return eqx.tree_at(
        lambda m: (m.linear, m.logarithmic, m.sigma, m.centre, m.lower, m.upper),
        model,
        (
            jnp.concatenate([model.linear, signals[:, None]], axis=1),
            jnp.concatenate([model.logarithmic, jnp.zeros_like(signals)[:, None]], axis=1),
            insert(model.sigma, jnp.inf),
            insert(model.centre, 0.0),
            insert(model.lower, 0.0),
            insert(model.upper, jnp.inf),
        ),
    )


class Mixture(NamedTuple):
    """A signal as a weighted sum of rows of a table: what one point of a scan is, without a copy of it.

    Attributes:
        terms: signals at all anchors, bins fastest, that the weights multiply; shape (row, term, anchor_bin).
        row: which row of the table; shape (), or (point,) for many.
        weights: of its terms; shape (term,) or (term, point).
    """

    terms: Any
    row: Any
    weights: Any


class Derivatives(NamedTuple):
    """chi2 at a point, and derivatives of the piece that is smooth in the given cell."""

    value: Float[Array, ""]
    gradient: Float[Array, " nuisance"]
    hessian: Float[Array, "nuisance nuisance"]


class _Morphed(NamedTuple):
    """Templates at a position, and their derivatives along the shapes."""

    value: Float[Array, "component bin"]
    slope: Float[Array, "shape component bin"]
    cross: dict[tuple[int, int], Float[Array, "component bin"]]


def _corners(pick: Callable[[Any, int], Array], sizes: tuple[int, ...], first: int, cell: Array) -> Array:
    """Templates around a position in one group, shape (2, ..., 2, bin): neighbours along the last shape at once."""
    strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1).tolist()
    pairs = []
    for upper in itertools.product((0, 1), repeat=len(sizes) - 1):
        row = first + cell[-1]
        for i, step in enumerate(upper):
            row = row + (cell[i] + step) * strides[i]
        pairs.append(pick(row, 2))
    return jnp.stack(pairs).reshape((2,) * len(sizes) + (-1,))


def _blend(corners: Array, fraction: Array, width: Array) -> dict[tuple[int, ...], Array]:
    """Multilinear interpolation of (2, ..., 2, bin) corners: value, first and mixed second derivatives."""
    terms: dict[tuple[int, ...], Array] = {(): corners}
    for axis in range(fraction.size):
        new = {}
        for key, block in terms.items():
            low, high = block[0], block[1]
            new[key] = low + (high - low) * fraction[axis]
            if len(key) < 2:
                new[(*key, axis)] = (high - low) / width[axis]
        terms = new
    return terms


def _templates(model: MorphingModel, signal: Array | Mixture, position: Array, cell: Array) -> _Morphed:
    """Templates of all components, signals first."""
    shapes, bins = len(model.anchors), model.observed.size
    edges = [jax.lax.dynamic_slice(a, (cell[i],), (2,)) for i, a in enumerate(model.anchors)]
    width = jnp.array([e[1] - e[0] for e in edges])
    fraction = jnp.array([(position[i] - e[0]) for i, e in enumerate(edges)]) / width

    def morphed(table: Array, front: tuple[Any, ...] = ()) -> dict[tuple[int, ...], Array]:
        """Value, slopes and mixed derivatives from rows of templates, shape (..., row, bin), at an index in front."""
        size = (1,) * len(front)

        def pick(row: Any, count: int) -> Array:
            start = (*(jnp.asarray(i, cell.dtype) for i in (*front, row)), jnp.zeros((), cell.dtype))
            return jax.lax.dynamic_slice(table, start, (*size, count, bins)).reshape(count, bins)

        if not model.groups:
            return {(): pick(0, 1)[0]}
        total: dict[tuple[int, ...], Array] = {}
        first_shape, first_row = 0, 0
        for group in model.groups:
            here = slice(first_shape, first_shape + len(group.sizes))
            corners = _corners(pick, group.sizes, first_row, cell[here])
            for key, value in _blend(corners, fraction[here], width[here]).items():
                place = tuple(first_shape + i for i in key)
                total[place] = total[place] + value if place in total else value
            first_shape, first_row = here.stop, first_row + group.rows
        if len(model.groups) > 1:
            total[()] = total[()] - (len(model.groups) - 1) * pick(model.groups[0].nominal, 1)[0]
        return total

    if isinstance(signal, Mixture):
        rows, count, _ = signal.terms.shape
        table = signal.terms.reshape(rows, count, -1, bins)
        terms = [morphed(table, (signal.row, k)) for k in range(count)]
        blended = {key: sum(signal.weights[k] * term[key] for k, term in enumerate(terms)) for key in terms[0]}
    else:
        blended = morphed(signal.reshape(-1, bins))
    moved = {row: morphed(model.moving, (k,)) for k, row in enumerate(model.moves)}
    still = jnp.zeros(bins, model.background.dtype)
    rows = {}
    for key, value in blended.items():
        backgrounds = [
            moved[i][key] if i in moved else (background if key == () else still)
            for i, background in enumerate(model.background)
        ]
        rows[key] = (
            jnp.concatenate([model.owner * value, jnp.stack(backgrounds)]) if backgrounds else model.owner * value
        )
    slope, value = [rows[(i,)] for i in range(shapes)], rows[()]
    slopes = jnp.stack(slope) if slope else jnp.zeros((0, *value.shape), value.dtype)
    return _Morphed(value, slopes, {key: value for key, value in rows.items() if len(key) == 2})


def _factors(model: MorphingModel, x: Array) -> tuple[Array, Array, Array]:
    """Factors of the components, with their first and second derivatives in the normalisations."""
    power = jnp.exp(model.logarithmic @ x)
    alone = jnp.any(model.linear > 0, axis=1)
    amount = jnp.where(alone, model.linear @ x, 1.0)
    factor = amount * power
    log, lin = model.logarithmic, model.linear
    first = power[:, None] * lin + factor[:, None] * log
    mixed = lin[:, :, None] * log[:, None, :]
    second = power[:, None, None] * (mixed + jnp.swapaxes(mixed, 1, 2))
    return factor, first, second + factor[:, None, None] * log[:, :, None] * log[:, None, :]


def _penalty(model: MorphingModel, x: Array) -> tuple[Array, Array, Array]:
    """Sum of (pull/sigma)^2 with gradient and diagonal Hessian."""
    log = model.is_log
    value = jnp.where(log, jnp.exp(x), x)
    slope, bend = jnp.where(log, value, 1.0), jnp.where(log, value, 0.0)
    weight = 1 / model.sigma**2  # zero for a free parameter
    pull = value - model.unit - model.centre
    return jnp.sum(weight * pull**2), 2 * weight * pull * slope, 2 * weight * (slope**2 + pull * bend)


def _split(model: MorphingModel, x: Array) -> tuple[Array, Array]:
    return x[: model.linear.shape[1]], x[model.linear.shape[1] :]


def nearest_cell(model: MorphingModel, x: Float[Array, " nuisance"]) -> Int[Array, " shape"]:
    """Cell of the anchors in which a point lies; at an anchor, the one above."""
    _, position = _split(model, x)
    cells = [
        jnp.clip(jnp.searchsorted(a, position[i], side="right") - 1, 0, a.size - 2)
        for i, a in enumerate(model.anchors)
    ]
    return jnp.stack(cells) if cells else jnp.zeros(0, int)


def expected_counts(
    model: MorphingModel,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"] | None = None,
) -> Float[Array, " bin"]:
    """N_i of eq. 16 of arXiv:2411.11749 at the parameters `x`."""
    return jnp.sum(_parts(model, signal, x, cell), axis=0)


def _parts(model: MorphingModel, signal: Array | Mixture, x: Array, cell: Array | None) -> Array:
    normalisation, position = _split(model, x)
    templates = _templates(model, signal, position, nearest_cell(model, x) if cell is None else cell)
    return _factors(model, normalisation)[0][:, None] * templates.value


def component_counts(
    model: MorphingModel, signal: Float[Array, " anchor_bin"], pull: Float[Array, " nuisance"]
) -> Float[Array, "component bin"]:
    """Expected counts of every component, signals first, at given pulls."""
    value = pull + jnp.where(jnp.arange(pull.size) < pull.size - len(model.anchors), 1.0, 0.0)
    log = jnp.concatenate([~model.is_linear, jnp.zeros(len(model.anchors), bool)])
    return _parts(model, signal, jnp.where(log, jnp.log(jnp.where(log, value, 1.0)), value), None)


def pulls(model: MorphingModel, x: Float[Array, " nuisance"]) -> Float[Array, " nuisance"]:
    """Relative pulls of the normalisations, factor - 1, and positions of the shapes."""
    return jnp.where(model.is_log, jnp.expm1(x), x - model.unit)


def chi2(
    model: MorphingModel,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"] | None = None,
) -> Float[Array, ""]:
    """Eq. 17 of arXiv:2411.11749 at the parameters `x`."""
    return poisson_chi2(expected_counts(model, signal, x, cell), model.observed) + _penalty(model, x)[0]


def signal_slope(
    model: MorphingModel,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"],
) -> Float[Array, " slope"]:
    """Partial derivative of chi2 with respect to the signal, or to the weights of a mixture, at fixed parameters."""
    if isinstance(signal, Mixture):
        return jax.grad(lambda w: chi2(model, signal._replace(weights=w), x, cell))(signal.weights)
    return jax.grad(chi2, argnums=1)(model, signal, x, cell)


def derivatives(
    model: MorphingModel,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"],
) -> Derivatives:
    """chi2 with gradient and Hessian of the piece of one cell, in closed form.

    Args:
        model: numbers of the likelihood.
        signal: signal in every bin at every anchor, bins fastest.
        x: parameters, inside the cell or on its border.
        cell: index of the lower anchor along each shape nuisance.
    """
    normalisation, position = _split(model, x)
    factor, first, second = _factors(model, normalisation)
    morphed = _templates(model, signal, position, cell)
    along = jnp.einsum("c,scb->sb", factor, morphed.slope)
    expected = factor @ morphed.value
    empty = model.observed == 0
    safe = jnp.where(empty | (expected <= 0), 1.0, expected)
    ratio = jnp.where(empty, 0.0, model.observed / safe)
    excess = 1 - ratio
    rows = jnp.concatenate([morphed.value, along])
    gram = (rows * (ratio / safe)) @ rows.T
    strength = rows @ excess
    components, shapes = factor.size, len(model.anchors)
    # From components and shapes to parameters: dN/dx_j = sum_r rows_r jacobian_rj.
    eye = jnp.eye(shapes, dtype=x.dtype)
    jacobian = jax.scipy.linalg.block_diag(first, eye) if shapes else first
    value, slope, curvature = _penalty(model, x)
    hessian = jacobian.T @ gram @ jacobian + jnp.diag(curvature / 2)
    bend = jnp.einsum("c,cij->ij", strength[:components], second)
    if shapes:
        mixed = first.T @ (morphed.slope @ excess).T  # d2N/dx_j dt_s, (normalisation, shape)
        corner = jnp.zeros((shapes, shapes), x.dtype)
        for (i, j), cross in morphed.cross.items():
            both = excess @ (factor @ cross)
            corner = corner.at[i, j].set(both).at[j, i].set(both)
        bend = jnp.block([[bend, mixed], [mixed.T, corner]])
    value = value + poisson_chi2(expected, model.observed)
    return Derivatives(value, 2 * jacobian.T @ strength + slope, 2 * (hessian + bend))


def starts(model: MorphingModel, signal: Float[Array, " anchor_bin"] | Mixture) -> Float[Array, "start nuisance"]:
    """Where to start fits: signals far above the data scaled down to them.

    One on each side of the nominal shapes, where a kink may be a ridge; one with all bounded ones at their low end.
    """
    shapes, nominal = len(model.anchors), model.nominal
    neutral = nominal[: model.linear.shape[1]]
    scaled = _scaled(model, signal, nominal)
    found = [
        jnp.concatenate([scaled, jnp.full(shapes, side, scaled.dtype)])
        for side in ((0.5, -0.5) if shapes else (0.0,))
    ]
    ends = jnp.where(jnp.isfinite(model.lower) & jnp.isfinite(model.upper), model.lower, nominal)
    # The last only where the nuisances have to go far: elsewhere it is a long way to the same minimum.
    far = jnp.any(jnp.abs(scaled - neutral) > 0.3) & ~jnp.any(~jnp.isfinite(model.sigma))
    low = jnp.concatenate([_scaled(model, signal, ends), ends[neutral.size :]])
    # Changes that add up may take more than there is when all are at their ends.
    far = far & jnp.all((expected_counts(model, signal, low) > 0) | (model.observed == 0))
    found.append(jnp.where(far, low, found[0]) if shapes else nominal)
    return jnp.clip(jnp.stack(found), model.lower, model.upper)


def _scaled(model: MorphingModel, signal: Array | Mixture, base: Array) -> Array:
    """Normalisations at which a signal above the data comes down to them, from those of `base`."""
    normalisation, position = _split(model, base)
    factor, _, _ = _factors(model, normalisation)
    counts = factor[:, None] * _templates(model, signal, position, nearest_cell(model, base)).value
    signals = model.owner.shape[0]
    have = jnp.sum(counts[:signals])
    want = jnp.maximum(jnp.sum(model.observed) - jnp.sum(counts[signals:]), 1.0)
    down = jnp.minimum(jnp.log((want + 1) / (have + 1)), 0.0)
    # The widest nuisances of the signal take the way, by variance, of those that can go it; a free strength alone.
    size = normalisation.size
    width = jnp.where(jnp.isfinite(model.sigma), model.sigma, 1.0)[:size]
    acting = jnp.any(model.logarithmic[:signals] > 0, axis=0)
    unbounded = acting & jnp.isneginf(model.lower[:size])
    acting = jnp.where(jnp.any(unbounded), unbounded, acting)
    free = ~jnp.isfinite(model.sigma[:size])
    power = jnp.where(acting, (1 - down) * jnp.log(width**2), -jnp.inf)
    share = jnp.where(acting, jnp.exp(power - jnp.max(power, initial=-1e30)), 0.0)
    share = share / jnp.maximum(jnp.sum(share), 1e-30)
    amount = jnp.where(free, jnp.clip(want / jnp.maximum(have, 1e-30), 0.1, 1e6), normalisation)
    logs = jnp.where(jnp.any(free & model.is_linear), normalisation, normalisation + down * share)
    return jnp.where(model.is_linear, amount, logs)
