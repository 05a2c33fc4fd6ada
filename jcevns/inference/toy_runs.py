"""Runs of many toys, kept in blocks so that a stopped run goes on where it was."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from jcevns.inference.hypothesis import Hypothesis
from jcevns.inference.toys import BLOCK, CHUNK, Toys, fit_toys, simulate

__all__ = ["throw"]


def _identity(hypothesis: Hypothesis, value: float, seed: int, pulls: np.ndarray | None) -> str:
    """What a stored block of toys depends on."""
    digest = hashlib.sha256()
    leaves = [*jax.tree.leaves(hypothesis.model), hypothesis.terms, hypothesis.grid, np.array([value, seed])]
    for leaf in [*leaves, np.zeros(0) if pulls is None else pulls]:
        digest.update(np.ascontiguousarray(np.asarray(leaf, float)).tobytes())
    digest.update(repr((hypothesis.name, hypothesis.powers, hypothesis.scale)).encode())
    return digest.hexdigest()[:16]


_FIELDS = ("best", "chi2", "chi2_truth", "valid")


def _stored(path: Path, size: int) -> dict[str, np.ndarray] | None:
    """A block from its file; None if it is not there, incomplete or damaged: it is then computed again."""
    try:
        with path.open("rb") as handle, np.load(handle) as file:
            found = {name: file[name] for name in _FIELDS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if all(v.shape == (size,) for v in found.values()) else None


def throw(
    hypothesis: Hypothesis,
    value: float,
    count: int,
    seed: int = 1,
    pulls: Float[np.ndarray, " nuisance"] | None = None,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] = lambda toys: None,
) -> Toys:
    """Simulate and fit toys.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value of the parameter.
        count: number of toys.
        seed: toys are the same for the same seed, whatever the chunk.
        pulls: true nuisances; nominal if absent.
        store: folder in which finished blocks are kept: a run that was stopped goes on from there.
        chunk: toys fitted at a time.
        progress: called with the number of toys done after each block.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> with tempfile.TemporaryDirectory() as store:  # finished toys are kept there
        ...     toys = jc.throw(flux, value=5.46e6, count=50, seed=1, store=store)
        >>> round(float(toys.best.mean()) / 1e6, 1)  # 1e6 cm^-2 s^-1
        5.6
    """
    if not np.isfinite(value) or value < hypothesis.lower:
        raise ValueError(f"true {hypothesis.name} {value!r} must be finite and at least {hypothesis.lower:g}")
    folder, name = (None if store is None else Path(store)), _identity(hypothesis, value, seed, pulls)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        path = None if folder is None else folder / f"toys_{name}_{first // BLOCK:06d}_{size}.npz"
        block = None if path is None else _stored(path, size)
        if block is None:
            toys = fit_toys(hypothesis, value, *simulate(hypothesis, value, size, seed, first, pulls), chunk)
            block = {field: getattr(toys, field) for field in _FIELDS}
            if path is not None:
                partial = path.with_suffix(".partial")
                with partial.open("wb") as file:
                    np.savez(file, **block)
                partial.replace(path)
        parts.append(block)
        progress(size)
    if not parts:
        raise ValueError(f"{count} toys: ask for one or more")
    return Toys(float(value), *(np.concatenate([p[field] for p in parts]) for field in _FIELDS))
