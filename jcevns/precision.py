"""Double precision: who needs it says so, nobody switches it on behind the user's back. One process: nobody forks."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["as_float_array", "check_seed", "not_forked", "optional_array", "require_x64"]

_PROCESSES: list[int] = []
"""The process in which JAX ran for this package, once it did."""


def not_forked() -> None:
    """Raise where JAX ran before a fork: its threads are not in this process, which would wait for them for ever.

    Raises:
        RuntimeError: with the remedy.
    """
    process = os.getpid()
    if not _PROCESSES:
        _PROCESSES.append(process)
    elif _PROCESSES[0] != process:
        raise RuntimeError(
            "this process was forked from one in which JAX had run, and would wait for ever: start workers with "
            'multiprocessing.get_context("spawn"), or ProcessPoolExecutor(mp_context=...) of it'
        )


def require_x64(what: str) -> None:
    """Raise unless JAX computes in float64.

    Args:
        what: the calculation that needs it, named in the message.

    Raises:
        RuntimeError: with the line to paste.
    """
    not_forked()
    if jnp.result_type(float) != jnp.float64:
        raise RuntimeError(
            f"{what} needs double precision. Put this line before any other use of JAX:\n"
            '    import jax; jax.config.update("jax_enable_x64", True)'
        )


def check_seed(seed: Any) -> None:
    """Raise ValueError for what is no seed of random numbers, here and in JAX: a whole number of 32 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r} must be a whole number from 0 to {2**32 - 1}")


def as_float_array(value: Any) -> Float[Array, "*shape"]:
    """`value` as a floating-point array; integers become floats, arrays and tracers keep their precision.

    The converter of every field that is scanned or differentiated: a Python float there would be a constant
    of the compiled function, and every new value a new compilation.
    """
    not_forked()
    if isinstance(value, (np.ndarray, np.generic, list, tuple, float, int)):
        # Placed, not converted by JAX: that would compile a program for every shape.
        array = np.asarray(value)
        return jax.device_put(array if np.issubdtype(array.dtype, np.inexact) else array.astype(float))
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def optional_array(value: Any) -> Float[Array, "*shape"] | None:
    """The same for a field that may be absent."""
    return None if value is None else as_float_array(value)
