"""Poisson chi2 of templates times normalisations, and of templates that change shape (eq. 17 of arXiv:2411.11749).

Shapes are multilinear between anchors, as blueice does, with kinks there; the changes that different groups of shapes
make to a template add up. The parameters are the normalisations, then a position for each shape nuisance. A factor
is moved as its logarithm, so that every yield stays positive however far it is dragged; but as itself if it
multiplies its components alone: it may then reach zero in a step.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcevns.likelihood.anchors import Group
from jcevns.likelihood.morphing import Morphed, interpolation
from jcevns.likelihood.poisson import deviance, poisson_chi2

__all__ = [
    "Derivatives",
    "Mixture",
    "Model",
    "chi2",
    "derivatives",
    "expected_counts",
    "freed",
    "joint_derivatives",
    "nearest_cell",
    "parts",
    "pulls",
    "sigmas",
    "signal_slope",
    "tilts",
]


class Model(eqx.Module):
    """Numbers of a binned likelihood, and nothing else: no name in it, so one compilation serves all data.

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
        signals: components of the signal, each an experiment and a place among its sources.
        loading: powers of the factors in the components, a row each; known to the compiler.
        belongs: experiment of each component.
        smooth: shapes whose kinks are those of a fine table; fits need not begin in each of their cells.
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
    signals: tuple[tuple[int, int], ...] = eqx.field(static=True)
    loading: tuple[tuple[float, ...], ...] = eqx.field(static=True, default=())
    belongs: tuple[int, ...] = eqx.field(static=True, default=())
    smooth: tuple[int, ...] = eqx.field(static=True, default=())

    @property
    def sources(self) -> int:
        """Parts of the signal in every bin."""
        return 1 + max((source for _, source in self.signals), default=0)

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


def freed(model: Model, place: int) -> Model:
    """The model with one normalisation free of its constraint, from 0 up, and moved as the factor itself.

    Args:
        model: numbers of the likelihood.
        place: of the normalisation, among the parameters.
    """
    loading = model.linear[:, place] + model.logarithmic[:, place]
    return eqx.tree_at(
        lambda m: (m.linear, m.logarithmic, m.sigma, m.lower),
        model,
        (
            model.linear.at[:, place].set(loading),
            model.logarithmic.at[:, place].set(0.0),
            model.sigma.at[place].set(jnp.inf),
            model.lower.at[place].set(0.0),
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


def _templates(model: Model, signal: Array | Mixture, position: Array, cell: Array) -> Morphed:
    """Templates of all components, signals first."""
    bins, rows = model.observed.size, sum(group.rows for group in model.groups) or 1

    def table(index: Any) -> Array:
        """What moves, at some anchors: the sources of the signal, then backgrounds."""
        if isinstance(signal, Mixture):
            terms = signal.terms.reshape(*signal.terms.shape[:2], rows, -1)
            found = jnp.tensordot(terms[signal.row, :, index], signal.weights, (1, 0))
        else:
            found = signal.reshape(rows, -1)[index]
        sources = found.reshape(len(index), -1, bins)
        if not model.moves:
            return sources
        return jnp.concatenate([sources, jnp.swapaxes(model.moving[:, index], 0, 1)], axis=1)

    found = interpolation(model.groups, model.anchors, position, cell)(table)
    owner, of_source = (np.array(index) for index in zip(*model.signals, strict=True))
    owned, moves = model.owner[owner], np.array(model.moves, int)

    def components(moving: Array, still: Array) -> Array:
        backgrounds = jnp.broadcast_to(still, (*moving.shape[:-2], *still.shape))
        if model.moves:
            backgrounds = backgrounds.at[..., moves, :].set(moving[..., model.sources :, :])
        return jnp.concatenate([owned * moving[..., of_source, :], backgrounds], axis=-2)

    none = jnp.zeros_like(model.background)
    cross = {pair: components(change, none) for pair, change in found.cross.items()}
    return Morphed(components(found.value, model.background), components(found.slope, none), cross)


def _factors(model: Model, x: Array) -> tuple[Array, Array, Array]:
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


def _penalty(model: Model, x: Array) -> tuple[Array, Array, Array]:
    """Sum of (pull/sigma)^2 with gradient and diagonal Hessian."""
    log = model.is_log
    value = jnp.where(log, jnp.exp(x), x)
    slope, bend = jnp.where(log, value, 1.0), jnp.where(log, value, 0.0)
    weight = 1 / model.sigma**2  # zero for a free parameter
    pull = value - model.unit - model.centre
    return jnp.sum(weight * pull**2), 2 * weight * pull * slope, 2 * weight * (slope**2 + pull * bend)


def _split(model: Model, x: Array) -> tuple[Array, Array]:
    return x[: model.linear.shape[1]], x[model.linear.shape[1] :]


def nearest_cell(model: Model, x: Float[Array, " nuisance"]) -> Int[Array, " shape"]:
    """Cell of the anchors in which a point lies; at an anchor, the one above."""
    _, position = _split(model, x)
    cells = [
        jnp.clip(jnp.searchsorted(a, position[i], side="right") - 1, 0, a.size - 2)
        for i, a in enumerate(model.anchors)
    ]
    return jnp.stack(cells) if cells else jnp.zeros(0, int)


def expected_counts(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"] | None = None,
) -> Float[Array, " bin"]:
    """N_i of eq. 16 of arXiv:2411.11749 at the parameters `x`."""
    return jnp.sum(parts(model, signal, x, cell), axis=0)


def parts(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"] | None = None,
) -> Float[Array, "component bin"]:
    """Expected counts of every component, signals first, at the parameters `x`."""
    normalisation, position = _split(model, x)
    templates = _templates(model, signal, position, nearest_cell(model, x) if cell is None else cell)
    return _factors(model, normalisation)[0][:, None] * templates.value


def tilts(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"],
) -> tuple[Float[Array, " component"], Float[Array, " experiment"]]:
    """Slope of chi2 in the product of factors of every component, signals first; and chi2 of each experiment."""
    templates = _templates(model, signal, _split(model, x)[1], cell).value
    expected, seen = expected_counts(model, signal, x, cell), model.observed
    slope = 1 - seen / jnp.where(expected > 0, expected, 1)
    return 2 * jnp.sum(templates * slope, axis=1), model.owner @ deviance(expected, seen)


def pulls(model: Model, x: Float[Array, " nuisance"]) -> Float[Array, " nuisance"]:
    """Relative pulls of the normalisations, factor - 1, and positions of the shapes."""
    return jnp.where(model.is_log, jnp.expm1(x), x - model.unit)


def sigmas(model: Model, pull: Float[Any, "nuisance *point"]) -> Float[Any, "nuisance *point"]:
    """Relative pulls in units of their widths; a free one relative."""
    width = jnp.where(jnp.isfinite(model.sigma), model.sigma, 1.0)
    return pull / (np.asarray(width) if isinstance(pull, np.ndarray) else width).reshape(-1, *[1] * (pull.ndim - 1))


def chi2(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"] | None = None,
) -> Float[Array, ""]:
    """Eq. 17 of arXiv:2411.11749 at the parameters `x`."""
    return poisson_chi2(expected_counts(model, signal, x, cell), model.observed) + _penalty(model, x)[0]


def signal_slope(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    x: Float[Array, " nuisance"],
    cell: Int[Array, " shape"],
) -> Float[Array, " slope"]:
    """Partial derivative of chi2 with respect to the signal, or to the weights of a mixture, at fixed parameters."""
    if isinstance(signal, Mixture):
        return jax.grad(lambda w: chi2(model, signal._replace(weights=w), x, cell))(signal.weights)
    return jax.grad(chi2, argnums=1)(model, signal, x, cell)


def derivatives(
    model: Model,
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


def joint_derivatives(
    model: Model, signal: Mixture, x: Float[Array, " nuisance"], cell: Int[Array, " shape"]
) -> tuple[Float[Array, " outer"], Float[Array, "outer outer"]]:
    """Gradient and Hessian of chi2 in the weights of a mixture and the parameters together; as `derivatives`."""
    here, signals = derivatives(model, signal, x, cell), len(model.signals)
    normalisation, position = _split(model, x)
    factor, first, _ = _factors(model, normalisation)
    whole = _templates(model, signal, position, cell)
    units = jnp.eye(signal.weights.size, dtype=x.dtype)
    each = jax.vmap(lambda unit: _templates(model, signal._replace(weights=unit), position, cell))(units)
    expected = factor @ whole.value
    safe = jnp.where((model.observed == 0) | (expected <= 0), 1.0, expected)
    ratio = jnp.where(model.observed == 0, 0.0, model.observed / safe)
    own, excess, bend = factor[:signals], 1 - ratio, ratio / safe
    of_weights = jnp.einsum("c,kcb->kb", own, each.value[:, :signals])
    of_x = jnp.concatenate([first.T @ whole.value, jnp.einsum("c,scb->sb", factor, whole.slope)])
    by_norm = (each.value[:, :signals] @ excess) @ first[:signals]
    by_shape = jnp.einsum("c,ksc->ks", own, each.slope[:, :, :signals] @ excess)
    weighted = of_weights * bend
    cross = 2 * (weighted @ of_x.T + jnp.concatenate([by_norm, by_shape], axis=1))
    gradient = jnp.concatenate([2 * of_weights @ excess, here.gradient])
    return gradient, jnp.block([[2 * weighted @ of_weights.T, cross], [cross.T, here.hessian]])
