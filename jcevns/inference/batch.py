"""Profile fits of many signals: fixed-size chunks through the batched Newton fit, failures tried again."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jcevns.inference.fit import profile_signal
from jcevns.inference.newton import batch_fit
from jcevns.likelihood.joint import Likelihood

__all__ = ["Profiles", "profile_signals"]


class Profiles(NamedTuple):
    """Profile fits of many points, as NumPy arrays with one entry per point; fields as in `BatchFit`."""

    chi2: Float[np.ndarray, " point"]
    theta: Float[np.ndarray, "nuisance point"]
    edm: Float[np.ndarray, " point"]
    slope: Float[np.ndarray, "bin point"]
    valid: Bool[np.ndarray, " point"]


_RESTART = 16  # failures are repeated in batches of one size, so that the slow path is compiled once

_robust = jax.jit(jax.vmap(profile_signal, in_axes=(None, 0)))


def profile_signals(
    likelihood: Likelihood,
    signals: Float[np.ndarray, "bin point"],
    chunk: int = 2048,
    progress: Callable[[int], None] = lambda points: None,
) -> Profiles:
    """Minimise chi2 over the nuisances for every signal.

    Points that the batched Newton fit does not bring to a valid minimum are fitted again by the robust
    minimiser, from several starts; what is still not valid is marked so.

    Args:
        likelihood: the experiments.
        signals: expected signal before nuisances, one column per point.
        chunk: points fitted at a time; the last chunk is padded.
        progress: called with the number of points done after each chunk.

    Returns:
        One entry per point.
    """
    model, points = likelihood.model, signals.shape[1]
    done: list[Profiles] = []
    for first in range(0, points, chunk):
        part = np.asarray(signals[:, first : first + chunk])
        padded = np.pad(part, ((0, 0), (0, chunk - part.shape[1])), mode="edge")
        fit = batch_fit(likelihood.layout, model, jnp.asarray(padded, model.observed.dtype))
        fit = Profiles(*(np.array(x)[..., : part.shape[1]] for x in fit))
        _restart(likelihood, part, fit)
        done.append(fit)
        progress(part.shape[1])
    return Profiles(*(np.concatenate(x, axis=-1) for x in zip(*done, strict=True)))


def _restart(likelihood: Likelihood, signals: np.ndarray, fit: Profiles) -> None:
    """Fit the points that are not valid again, in place, where the signal itself is finite."""
    failed = np.flatnonzero(~fit.valid & np.all(np.isfinite(signals), axis=0))
    dtype = likelihood.model.observed.dtype
    for first in range(0, failed.size, _RESTART):
        index = failed[first : first + _RESTART]
        padded = np.resize(index, _RESTART)
        again = _robust(likelihood.model, jnp.asarray(signals[:, padded].T, dtype))
        for place, point in enumerate(index):
            if not again.valid[place]:
                continue
            fit.chi2[point] = again.chi2[place]
            fit.theta[:, point] = np.log1p(np.asarray(again.pulls[place]))
            fit.edm[point] = again.edm[place]
            fit.slope[:, point] = again.slope[place]
            fit.valid[point] = True
