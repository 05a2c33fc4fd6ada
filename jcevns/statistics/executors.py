"""Shares of a long calculation handed to the processes of an executor: of Python, Dask or MPI."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import jax

from jcevns.compiled import keep_compiled, kept_in

__all__ = ["spread"]

_SHARES = 64  # each checks what is in the store before it begins


def spread(
    executor: Any, work: Callable[..., None], asked: tuple, todo: Sequence[int], units: int
) -> Iterator[list[int]]:
    """Do units of work in other processes.

    Args:
        executor: with `submit`, as those of `concurrent.futures`; or with `get_executor`, as a Dask client.
        work: called with the arguments that are asked, `shard` and `progress`; it leaves out what is finished.
        asked: what can be pickled.
        todo: units that are missing.
        units: all of them.

    Yields:
        Those of the missing units that a share has finished, in the order of their end.

    Raises:
        TypeError: no executor.
        Exception: what a share raised; shares that have not begun are cancelled.
    """
    if hasattr(executor, "get_executor"):  # a result of Dask's belongs to a key: the same scan again would not run
        executor = executor.get_executor(pure=False)
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor {executor!r} has no submit(): give an executor or a Dask client")
    count = min(units, _SHARES)
    shares: dict[int, list[int]] = {}
    for unit in todo:
        shares.setdefault(unit % count, []).append(unit)
    running: dict[Future, list[int]] = {}
    try:
        for index, mine in shares.items():
            running[executor.submit(_share, work, _Double(asked), (index + 1, count), kept_in())] = mine
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                yield running.pop(future)
    finally:
        for future in running:
            future.cancel()


class _Double:
    """What a worker process unpickles in double precision, as it was made: before a line of ours runs there."""

    def __init__(self, asked: tuple):
        self.asked = asked

    def __reduce__(self) -> tuple:
        return _in_double, (_Switch(), self.asked)


class _Switch:
    """Unpickled before what follows it."""

    def __reduce__(self) -> tuple:
        return _switch_to_double, ()


def _switch_to_double() -> None:
    jax.config.update("jax_enable_x64", True)


def _in_double(_: None, asked: tuple) -> _Double:
    return _Double(asked)


def _share(work: Callable[..., None], asked: _Double, shard: tuple[int, int], kept: Path | None) -> None:
    """What a worker process does."""
    if kept is not None:
        keep_compiled(kept)
    work(*asked.asked, shard=shard, progress=False)
