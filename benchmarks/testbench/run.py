"""Parts of a run: what there is to do, in which order, and one part of it in a worker process."""

import math
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from time import monotonic
from typing import Any

import jax
import numpy as np

from benchmarks.testbench import binned, coverage, curves, products, shapes
from benchmarks.testbench.store import Store

__all__ = ["Plan", "execute", "plan"]

_FORGET = 30  # parts after which a worker drops its compiled programs

Plan = dict[str, int]
"""Number of parts of each kind."""


def plan(models: int) -> Plan:
    """Parts for a number of binned models.

    A tenth as many are products as experiments have them, and a tenth are fitted in single precision; a hundredth are
    models with shapes, and intervals and limits; for coverage each case has as many toys as a hundredth, a thousand
    at least.
    """
    parts = {
        "binned": models / (binned.CALL * binned.CALLS),
        "products": models / (10 * products.CALL * products.CALLS),
        "single": models / (10 * binned.CALL * binned.CALLS),
        "shapes": models / (100 * shapes.MODELS),
        "curves": models / (100 * (curves.INTERVALS + curves.PLANES * curves.PLACES)),
        "coverage": len(coverage.CASES) * max(1, round(models / (100 * coverage.TOYS))),
    }
    return {kind: math.ceil(count) for kind, count in parts.items()}


def _part(kind: str, index: int, seed: int) -> dict[str, Any]:
    """One part; the only thing that a worker process is asked."""
    jax.config.update("jax_enable_x64", True)
    if index % _FORGET == _FORGET - 1:
        jax.clear_caches()
    if kind == "single":
        return binned.run(seed, index, dtype=np.float32)
    kinds = {"binned": binned, "products": products, "shapes": shapes, "curves": curves, "coverage": coverage}
    return kinds[kind].run(seed, index)


def execute(
    todo: Plan,
    store: Store,
    seed: int,
    hours: float,
    workers: int,
    progress: Callable[[int], Any] = lambda done: None,
) -> None:
    """Do what is not yet in the store, until it is all there or the time is over.

    Args:
        todo: number of parts of each kind.
        store: where they go.
        seed: of all random numbers.
        hours: after which no part is begun.
        workers: processes.
        progress: called with the number of parts done.
    """
    # All kinds advance together: a run that is cut short has some of each.
    every = sorted(((i + 1) / count, kind, i) for kind, count in todo.items() for i in range(count))
    missing = [(kind, i) for _, kind, i in every if not store.has(kind, i)]
    progress(len(every) - len(missing))
    begun = monotonic()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    queue = iter(missing)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        running: dict[Future, tuple[str, int]] = {}
        while True:
            while len(running) < workers and monotonic() - begun < 3600 * hours:
                following = next(queue, None)
                if following is None:
                    break
                running[pool.submit(_part, *following, seed)] = following
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                store.keep(*running.pop(future), future.result())
                progress(1)
