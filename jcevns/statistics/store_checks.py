"""What the store of a scan must be, checked before memory is allocated for what it claims to hold."""

import hashlib
import math
import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "FIELDS",
    "REMEDY",
    "RESERVED",
    "STACKS",
    "StoreError",
    "check_files",
    "check_size",
    "checksum",
    "done",
    "finished_rows",
    "verify",
]

FIELDS = {"chi2": ("float64", np.nan), "edm": ("float32", np.nan), "valid": ("bool", False)}
"""Variables with one value per point: type and fill value."""

STACKS = {
    "pulls": ("float32", "nuisance", "pulls in standard deviations at the minimum"),
    "profiled": ("float64", "parameter", "values of the profiled parameters at the minimum, each in its own unit"),
}
"""Variables with several values per point: type, name of the dimension in front, description."""

RESERVED = {
    *FIELDS,
    *STACKS,
    *(dimension for _, dimension, _ in STACKS.values()),
    "unit",
    "unit_checksum",
    "unit_done",
}
"""Names that no axis may have."""


class StoreError(ValueError):
    """A store is damaged, or belongs to another scan; the message says which and what to do."""


REMEDY = "restore the folder, or delete it to compute the scan again"
_LARGEST_METADATA = 2**24  # bytes
_MOST_UNITS = 1_000_000


def _memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return 2**36


def check_size(what: str, shape: Sequence[int], entries: int, rows: int) -> None:
    """Raise StoreError for a scan whose results do not fit in the memory, before there is any for them.

    Args:
        what: how the message begins.
        shape: of the grid.
        entries: of all of `STACKS` together.
        rows: of the first axis per unit.
    """
    size = math.prod(shape) * (8 + 4 + 1 + 8 * entries)
    shown = " x ".join(map(str, shape))
    if size > _memory():
        raise StoreError(
            f"{what} {shown} points with {entries} values each need {size / 2**30:.3g} GiB, this machine has "
            f"{_memory() / 2**30:.3g}: take fewer values, or several scans"
        )
    if -(-shape[0] // max(rows, 1)) > _MOST_UNITS:
        raise StoreError(f"{what} {shown} points make more than {_MOST_UNITS} units of work: put a long axis last")


def check_files(path: Path) -> None:
    """Raise StoreError if a folder holds anything but folders and files, or metadata of an absurd size."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue  # another shard was just writing it
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{path} is not a scan, {name} in it is a link or a device: {REMEDY}")
            if name == "zarr.json" and found.st_size > _LARGEST_METADATA:
                raise StoreError(f"{path} is not a scan, its metadata are too large: {REMEDY}")


def _check_layout(group: Any, path: Path, names: Sequence[str]) -> None:
    """Raise StoreError unless the arrays have the sizes of one scan, in chunks and files no larger than they are."""
    try:
        shape, rows = tuple(group["chi2"].shape), group["chi2"].chunks[0]
        stacks = {name: group[name].shape[0] for name in STACKS if name in group}
        check_size(f"{path} is damaged, or too large to be read:", shape, sum(stacks.values()), rows)
        units = -(-shape[0] // rows)
        wanted: dict[str, tuple[tuple[int, ...], str]] = {name: (shape, kind) for name, (kind, _) in FIELDS.items()}
        wanted |= {name: ((count, *shape), STACKS[name][0]) for name, count in stacks.items()}
        wanted |= {name: ((size,), "float64") for name, size in zip(names, shape, strict=True)}
        wanted |= {"unit_checksum": ((units,), "uint32"), "unit_done": ((units,), "uint8")}
        for name, (expected, kind) in wanted.items():
            array = group[name]
            good = tuple(array.shape) == expected and str(array.dtype) == kind
            if not good or any(c > max(s, 1) for c, s in zip(array.chunks, expected, strict=True)):
                raise ValueError(name)
            most = 2 * math.prod(array.chunks) * array.dtype.itemsize + 4096  # as compressed as it may not be
            for folder, _, files in os.walk(path / name):
                if any(_size(os.path.join(folder, f)) > most for f in files if f != "zarr.json"):
                    raise ValueError(name)
    except StoreError:
        raise
    except Exception:  # zarr raises many kinds
        raise StoreError(f"{path}: its metadata are damaged, they are not those of one scan: {REMEDY}") from None


def _size(path: str) -> int:
    """Bytes of a file; none if it is gone, as what another shard writes has a name of its own until it is whole."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def checksum(*arrays: np.ndarray) -> int:
    """Checksum of the results of a unit."""
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


def done(group: Any, path: Path) -> np.ndarray:
    """Which units are finished."""
    try:
        return np.asarray(group["unit_done"][:]) == 1
    except Exception:
        raise StoreError(f"{path}: the list of finished units is damaged: {REMEDY}") from None


def _sums(group: Any, unit: int) -> tuple[slice, int | None, int]:
    """Rows of a unit, the checksum of what is there, and the one that was written."""
    rows, size = group["chi2"].chunks[0], group["chi2"].shape[0]
    part = slice(unit * rows, min((unit + 1) * rows, size))
    try:
        stacks = [np.asarray(group[name][:, part]) for name in STACKS if name in group]
        found = checksum(*(np.asarray(group[name][part]) for name in FIELDS), *stacks)
        return part, found, int(group["unit_checksum"][unit])
    except Exception:  # zarr raises many kinds
        return part, None, -1


def finished_rows(group: Any, path: Path) -> np.ndarray:
    """Whether each row of the first axis is of a whole unit: what the others hold may be half of it."""
    whole = done(group, path)
    for unit in np.flatnonzero(
        ~whole & (np.asarray(group["unit_checksum"][:]) != 0)
    ):  # its flag is not there, or not yet
        _, found, expected = _sums(group, int(unit))
        whole[unit] = found == expected
    return np.repeat(whole, group["chi2"].chunks[0])[: group["chi2"].shape[0]]


def verify(group: Any, path: Path, axes: Mapping[str, np.ndarray | str]) -> None:
    """Check the sizes, the axes (values, or the start of their SHA-256) and every finished unit of a store.

    Raises:
        StoreError: something is damaged.
    """
    _check_layout(group, path, tuple(axes))
    for name, expected in axes.items():
        try:
            found = np.asarray(group[name][:])
            digest = hashlib.sha256(found.tobytes()).hexdigest()[:16]
            good = digest == expected if isinstance(expected, str) else np.array_equal(found, expected)
        except Exception:
            good = False
        if not good:
            raise StoreError(f"{path}: the axis {name!r} is damaged: {REMEDY}")
    for unit in map(int, np.flatnonzero(done(group, path))):
        part, found, expected = _sums(group, unit)
        if found != expected:
            raise StoreError(
                f"{path}: rows {part.start} to {part.stop - 1} are damaged (checksum {found}, expected {expected}): "
                f"{REMEDY}"
            )
