"""One damped Newton step of a small problem, written out so that a batch runs in step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["newton_step", "restricted"]

_UNROLL_UP_TO = 12


def _solve(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """Solution x of A x = b by Cholesky, and b^T x; not finite where A is not positive definite.

    Written out element by element for the few nuisances of a counting experiment: under `vmap` each scalar
    becomes a vector over the batch, where LAPACK would be called once per point.
    """
    n = vector.shape[0]
    if n > _UNROLL_UP_TO:
        return _eliminated(matrix, vector)
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


def _eliminated(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """The same for more nuisances, a column at a time. LAPACK, called by two threads at once, may wait for ever."""
    n = vector.shape[0]
    index = jnp.arange(n)

    def eliminate(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, right, square = state
        pivot = jnp.where(rows[k, k] > 0, rows[k, k], jnp.nan)
        column = jnp.where(index > k, rows[:, k] / pivot, 0.0)
        square = square + right[k] ** 2 / pivot
        return rows - column[:, None] * rows[k], right - column * right[k], square

    def substitute(step: Array, solution: Array) -> Array:
        k = n - 1 - step
        known = jnp.sum(jnp.where(index > k, rows[k] * solution, 0.0))
        return solution.at[k].set((right[k] - known) / rows[k, k])

    start = (matrix, vector, jnp.zeros((), vector.dtype))
    rows, right, square = jax.lax.fori_loop(0, n, eliminate, start)
    return jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(vector)), square


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
