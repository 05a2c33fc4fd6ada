"""Runs of many toys, kept in blocks so that a stopped run goes on where it was."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jcevns.files import write_bytes
from jcevns.fit.batch import expand
from jcevns.fit.validity import require_toys
from jcevns.likelihood.likelihood import Experiments, Likelihood
from jcevns.statistics.hypothesis import Hypothesis, Truth, hypothesis
from jcevns.statistics.store import versions
from jcevns.statistics.toys import BLOCK, CHUNK, Toys, draw, fit_toys

__all__ = ["run_toys", "throw", "valid_toys"]

_FIELDS = ("best", "chi2", "chi2_truth", "valid", "censored")


def _identity(hypothesis: Hypothesis, value: float, seed: int, truth: Truth | None) -> str:
    """What a stored block of toys depends on: numbers, names, versions, and the signal at a few values."""
    digest = hashlib.sha256()
    record = hypothesis.record
    scale = record.scale or abs(record.default) or 1.0
    values = np.clip([value, record.default, value + scale, value - scale / 2], record.lower, record.upper)
    leaves = [*jax.tree.leaves((hypothesis.model, hypothesis.likelihood.theory)), np.array([value, seed])]
    leaves.append(expand(hypothesis.mixture(hypothesis.points(values))))
    for leaf in [*leaves, *(() if truth is None else truth)]:
        digest.update(np.ascontiguousarray(np.asarray(leaf, float)).tobytes())
    named = (hypothesis.records, sorted(hypothesis.surface.at.items()), hypothesis.auxiliary, versions())
    digest.update(repr(named).encode())
    return digest.hexdigest()[:16]


def _stored(path: Path, size: int) -> dict[str, np.ndarray] | None:
    """A block from its file; None if it is not there, incomplete or damaged: it is then computed again."""
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with path.open("rb") as handle, zipfile.ZipFile(handle) as pack:
            for name in _FIELDS:
                with pack.open(f"{name}.npy") as file:  # what it claims, before there is memory for it
                    np.lib.format.read_magic(file)
                    shape, _, kind = np.lib.format.read_array_header_1_0(file)
                if shape != (size,) or kind.itemsize > 8:
                    return None
            handle.seek(0)
            with np.load(handle, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in _FIELDS}
    except Exception:  # zipfile and NumPy raise many kinds on damaged files
        return None


def run_toys(
    hypothesis: Hypothesis,
    value: float,
    count: int,
    seed: int = 1,
    truth: Truth | None = None,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], Any] = lambda toys: None,
) -> Toys:
    """Simulate and fit toys of a hypothesis; see `throw`."""
    if count < 1:
        raise ValueError(f"{count} toys: ask for one or more")
    hypothesis.record.check(value)
    folder = None if store is None else Path(store)
    name = "" if folder is None else _identity(hypothesis, value, seed, truth)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        path = None if folder is None else folder / f"toys_{name}_{first // BLOCK:06d}_{size}.npz"
        block = None if path is None else _stored(path, size)
        if block is None:
            sample = draw(hypothesis, value, size, seed, first, truth)
            toys = fit_toys(hypothesis, value, sample, chunk, hypothesis.nominal if truth is None else truth)
            block = {field: getattr(toys, field) for field in _FIELDS}
            if path is not None:
                content = io.BytesIO()
                np.savez(content, **block)
                write_bytes(path, content.getvalue())
        parts.append(block)
        progress(size)
    return Toys(float(value), *(np.concatenate([p[field] for p in parts]) for field in _FIELDS))


def valid_toys(toys: Toys) -> tuple[Toys, int]:
    """Valid toys, and the number of the others.

    Raises:
        RuntimeError: they are more than one in a thousand.
    """
    invalid = int(np.sum(~toys.valid))
    require_toys(invalid, len(toys), f"{toys.truth:.4g}")
    return toys.kept, invalid


def throw(
    likelihood: Likelihood | Experiments,
    name: str,
    value: float,
    count: int,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    nuisances: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], Any] = lambda toys: None,
) -> Toys:
    """Simulate and fit toys.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter of interest.
        value: its true value.
        count: number of toys.
        seed: toys are the same for the same seed, whatever the chunk.
        at: values of parameters that are fixed.
        nuisances: true values of nuisances by name; the others nominal.
        profiled: parameters without constraint that are profiled.
        store: folder in which finished blocks are kept: a run that was stopped goes on from there.
        chunk: toys fitted at a time.
        progress: called with the number of toys done after each block.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> with tempfile.TemporaryDirectory() as store:  # finished toys are kept there
        ...     toys = jc.throw("xenonnt-2024-s2", "flux", value=5.46e6, count=50, seed=1, store=store)
        >>> round(float(toys.best.mean()) / 1e6, 1)  # 1e6 cm^-2 s^-1
        5.6
    """
    found = hypothesis(likelihood, name, at, profiled)
    truth = None if nuisances is None else found.truth(nuisances)
    return run_toys(found, value, count, seed, truth, store, chunk, progress)
