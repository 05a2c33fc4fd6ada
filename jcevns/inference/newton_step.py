"""One damped Newton step of a small problem, written out so that a batch runs in step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["newton_step", "restricted"]

_UNROLL_UP_TO = 16


def _solve(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """Solution x of A x = b by Cholesky, and b^T x; not finite where A is not positive definite.

    Written out element by element for the few nuisances of a counting experiment: under `vmap` each scalar
    becomes a vector over the batch, where LAPACK would be called once per point.
    """
    n = vector.shape[0]
    if n > _UNROLL_UP_TO:
        factor = jax.scipy.linalg.cholesky(matrix, lower=True)
        half = jax.scipy.linalg.solve_triangular(factor, vector, lower=True)
        return jax.scipy.linalg.solve_triangular(factor.T, half, lower=False), jnp.sum(half**2)
    lower: list[list[Array]] = []
    inverse: list[Array] = []
    white: list[Array] = []
    for i in range(n):
        row: list[Array] = []
        for j in range(i):
            row.append((matrix[i, j] - sum(row[k] * lower[j][k] for k in range(j))) * inverse[j])
        pivot = matrix[i, i] - sum(r * r for r in row)
        inverse.append(jnp.where(pivot > 0, jax.lax.rsqrt(pivot), jnp.nan))
        white.append((vector[i] - sum(row[k] * white[k] for k in range(i))) * inverse[i])
        lower.append(row)
    solution: list[Array] = [*white]
    for i in reversed(range(n)):
        rest = sum(lower[k][i] * solution[k] for k in range(i + 1, n))
        solution[i] = (white[i] - rest) * inverse[i]
    return jnp.stack(solution), jnp.sum(jnp.stack(white) ** 2)


def restricted(hessian: Array, free: Array) -> Array:
    """Hessian in the free directions, with ones on the diagonal of the others."""
    return jnp.where(free[:, None] & free[None, :], hessian, jnp.diag(jnp.where(free, 0.0, 1.0)))


def newton_step(gradient: Array, hessian: Array, damping: Array) -> tuple[Array, Array]:
    """Step -(H + damping |diag H|)^-1 g and g^T (...)^-1 g / 2; infinite decrement where not positive definite."""
    if gradient.size == 0:
        return gradient, jnp.zeros_like(damping)
    diagonal = jnp.abs(jnp.diagonal(hessian))
    floor = jnp.finfo(hessian.dtype).tiny ** 0.5
    scale = jax.lax.rsqrt(jnp.maximum(diagonal, floor))
    # Unit diagonal first: widths of 5% and 100% put a factor 400 between the entries.
    scaled = hessian * scale[:, None] * scale[None, :] + damping * jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    solution, square = _solve(scaled, gradient * scale)
    decrement = square / 2
    return -scale * solution, jnp.where(jnp.isfinite(decrement), decrement, jnp.inf)
