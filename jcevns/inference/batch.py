"""Profile fits of many signals: fixed-size chunks through the batched Newton fit, failures tried again."""

import collections
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jcevns.inference.fit import profile_signal
from jcevns.inference.newton import BatchFit, batch_fit
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
    layout, points = likelihood.layout, signals.shape[1]
    devices = jax.local_devices()
    # Chunks are independent: they go to the devices in turn, and the result is the same on one as on many.
    models = [jax.device_put(likelihood.model, device) for device in devices[: -(-points // chunk)]]
    dtype = likelihood.model.observed.dtype

    def start(number: int) -> tuple[np.ndarray, BatchFit]:
        part = np.asarray(signals[:, number * chunk : (number + 1) * chunk], dtype)
        padded = np.pad(part, ((0, 0), (0, chunk - part.shape[1])), mode="edge")
        place = number % len(models)
        return part, batch_fit(layout, models[place], jax.device_put(padded, devices[place]))

    def finish(part: np.ndarray, fit: BatchFit) -> Profiles:
        result = Profiles(*(np.array(x)[..., : part.shape[1]] for x in fit))
        _restart(likelihood, part, result)
        progress(part.shape[1])
        return result

    done, running = [], collections.deque()
    for number in range(-(-points // chunk)):
        running.append(start(number))
        if len(running) > len(models):
            done.append(finish(*running.popleft()))
    done += [finish(*one) for one in running]
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
