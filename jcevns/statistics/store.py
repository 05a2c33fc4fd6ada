"""Results of a scan on disk: one zarr group that many processes fill and any of them resumes.

A scan is cut into units, runs of rows of the first axis. A unit's arrays are written first, then its checksum,
then its flag: a process killed at any moment leaves a unit that is either whole or computed again. Each array
chunk is one unit, so processes that own different units never write the same file.
"""

import dataclasses
import hashlib
import json
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from jcevns.fit.surface import Surface
from jcevns.physics.interaction import label_of, with_values
from jcevns.statistics.store_checks import (
    FIELDS,
    STACKS,
    StoreError,
    check_files,
    checksum,
    done,
    finished_rows,
    verify,
)

if TYPE_CHECKING:
    import xarray

__all__ = ["Holdings", "ScanStore", "holdings", "identity", "open_scan", "require_xarray", "require_zarr", "versions"]

_FORMAT = 2


def require_zarr() -> Any:
    """The zarr module, or an error that says what to install."""
    try:
        import zarr
    except ImportError:
        raise ImportError("storing a scan needs zarr: pip install 'jcevns[store]'") from None
    return zarr


def require_xarray() -> Any:
    """The xarray module, or an error that says what to install."""
    try:
        import xarray
    except ImportError:
        raise ImportError("scans need xarray: pip install 'jcevns[store]'") from None
    return xarray


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Versions of what computes: others may give other digits."""
    return tuple((name, metadata.version(name)) for name in ("jcevns", "jax", "jaxlib"))


def _modules(part: Any) -> Iterator[eqx.Module]:
    """A module and those in it."""
    if isinstance(part, tuple):
        for entry in part:
            yield from _modules(entry)
    elif isinstance(part, eqx.Module):
        yield part
        for field in dataclasses.fields(part):
            yield from _modules(getattr(part, field.name, None))


def _own_signal(surface: Surface, points: np.ndarray) -> list[str]:
    """Signal at the ends of the grid to six digits, of a theory that is not the package's: its code may change."""
    if all(type(part).__module__.split(".")[0] == "jcevns" for part in _modules(surface.theory)):
        return []
    return [f"{counts:.5e}" for counts in surface.signals(points).ravel()]


def identity(
    surface: Surface, axes: Mapping[str, np.ndarray], asked: Sequence[str], labels: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """What identifies a scan: the theory, its axes, and every number of the likelihood.

    Args:
        surface: chi2 in the axes.
        axes: name to values.
        asked: parameters that are profiled though they have no constraint.
        labels: of the entries of `STACKS`.
    """
    likelihood, digest = surface.likelihood, hashlib.sha256()
    numbers = (likelihood.model, surface.arrangement.model, likelihood.moments, likelihood.experiments)
    for leaf in jax.tree.leaves(numbers):
        digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    ends = np.array([[values[end] for values in axes.values()] for end in (0, -1)])
    first = dict(zip(axes, ends[0], strict=True))
    theory = with_values(
        surface.theory, {n: v for n, v in first.items() if likelihood.parameters[n].kind == "theory"}
    )
    return {
        "theory": label_of(theory),
        "theory_structure": str(jax.tree.structure(theory)),
        "theory_values": [np.asarray(x).tolist() for x in jax.tree.leaves(theory)],
        "theory_signal": _own_signal(surface, ends),
        "axes": {name: hashlib.sha256(values.tobytes()).hexdigest()[:16] for name, values in axes.items()},
        "dimensions": list(axes),
        "shape": [len(values) for values in axes.values()],
        "at": surface.at,
        "constrained": sorted(surface.constrained),
        "profiled": sorted(asked),
        "experiments": list(likelihood.names),
        "nuisances": list(labels["pulls"]),
        "stacks": list(labels),
        "numbers": digest.hexdigest()[:16],
        "dtype": str(likelihood.model.observed.dtype),
        "versions": dict(versions()),
    }


class ScanStore:
    """The store of one scan.

    Args:
        path: folder, conventionally ending in .zarr; made if missing.
        axes: name to values, in the order of the dimensions.
        units: unit of each axis.
        rows: rows of the first axis per unit.
        labels: of the entries of each of `STACKS` that the scan has.
        settings: what identifies the scan; a store with other settings is refused.

    Raises:
        StoreError: the folder is no store of this scan, or is damaged.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        axes: Mapping[str, np.ndarray],
        units: Mapping[str, str],
        rows: int,
        labels: Mapping[str, tuple[str, ...]],
        settings: Mapping[str, Any],
    ):
        self.path, self.axes, self.rows = Path(path), dict(axes), rows
        self.shape = tuple(len(v) for v in axes.values())
        self.labels, self.units = dict(labels), dict(units)
        self.count = -(-self.shape[0] // rows)
        settings = json.loads(json.dumps(settings))  # as it will be read back
        zarr = require_zarr()
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, not a scan: choose another name")
        if self.path.is_symlink() and not self.path.exists():
            raise StoreError(f"{self.path} is a link to nothing: choose another name, or make that folder")
        if not (self.path.exists() and any(self.path.iterdir())):
            self._create(zarr, settings)
        self._open(zarr, settings)

    def _create(self, zarr: Any, settings: Mapping[str, Any]) -> None:
        # Made aside and renamed into place whole: two shards may get here together, and a process may be killed.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            self._fill(zarr, aside, settings)
            aside.rename(self.path)
        except OSError:
            if not (self.path.is_dir() and any(self.path.iterdir())):
                raise
            # Another shard was first.
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _fill(self, zarr: Any, folder: Path, settings: Mapping[str, Any]) -> None:
        self.group = zarr.open_group(str(folder), mode="w", zarr_format=3)
        names = tuple(self.axes)
        chunk = (self.rows, *self.shape[1:])
        for name, (kind, fill) in FIELDS.items():
            self._array(name, self.shape, chunk, kind, fill, names)
        for name, entries in self.labels.items():
            kind, dimension, description = STACKS[name]
            shape = (len(entries), *self.shape)
            stack = self._array(name, shape, (max(len(entries), 1), *chunk), kind, np.nan, (dimension, *names))
            stack.attrs.update({dimension: list(entries), "description": description})
        for name, values in self.axes.items():
            axis = self._array(name, values.shape, values.shape, "float64", np.nan, (name,))
            axis[:] = values
            axis.attrs["units"] = self.units.get(name, "")
        self._array("unit_checksum", (self.count,), (1,), "uint32", 0, ("unit",))
        self._array("unit_done", (self.count,), (1,), "uint8", 0, ("unit",))
        self.group.attrs.update({"format": _FORMAT, "settings": dict(settings)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not in the zarr 3 specification yet, but what xarray reads
            zarr.consolidate_metadata(str(folder))

    def _array(self, name: str, shape: Any, chunks: Any, dtype: str, fill: Any, dimensions: Any) -> Any:
        return self.group.create_array(
            name, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill, dimension_names=dimensions
        )

    def _open(self, zarr: Any, settings: Mapping[str, Any]) -> None:
        remedy = "delete it or choose another name"
        check_files(self.path)
        try:
            self.group = zarr.open_group(str(self.path), mode="r+", zarr_format=3)
            attributes = dict(self.group.attrs)
        except Exception as error:  # zarr raises many kinds on foreign or damaged folders
            if isinstance(error, PermissionError):
                raise
            raise StoreError(f"{self.path} is not a scan, or its metadata is damaged: {remedy}") from None
        if "settings" not in attributes:
            raise StoreError(f"{self.path} is a zarr group but not a scan: {remedy}")
        stored = attributes["settings"]
        different = sorted(k for k in {*stored, *settings} if stored.get(k) != settings.get(k))
        if attributes.get("format") != _FORMAT:
            different.append("format")
        if different:
            # The first that differ, in the order the settings are listed, say enough.
            keys = [k for k in settings if k in different and k != "theory_structure"] or different
            pairs = "; ".join(
                f"{k}: {str(stored.get(k))[:60]} stored, {str(settings.get(k))[:60]} asked for" for k in keys[:3]
            )
            raise StoreError(f"{self.path} belongs to another scan ({pairs}): {remedy}")
        self._verify()

    def _verify(self) -> None:
        """Check the axes, and every finished unit against its checksum."""
        verify(self.group, self.path, self.axes)

    def rows_of(self, unit: int) -> tuple[int, int]:
        """First row of a unit and the end of its rows."""
        return unit * self.rows, min((unit + 1) * self.rows, self.shape[0])

    def done(self) -> np.ndarray:
        """Which units are finished."""
        return done(self.group, self.path)

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> None:
        """Write the results of a unit, shaped as their part of the grid; what another process finished stays."""
        if self.group["unit_done"][unit] == 1:
            return
        first, stop = self.rows_of(unit)
        shape = (stop - first, *self.shape[1:])
        ready = {name: np.asarray(values[name], kind).reshape(shape) for name, (kind, _) in FIELDS.items()}
        for name, entries in self.labels.items():
            ready[name] = np.asarray(values[name], STACKS[name][0]).reshape(len(entries), *shape)
        for name, array in ready.items():
            part = (slice(None), slice(first, stop)) if name in STACKS else slice(first, stop)
            self.group[name][part] = array
        self.group["unit_checksum"][unit] = checksum(*ready.values())
        self.group["unit_done"][unit] = 1


def open_scan(store: str | Path) -> "xarray.Dataset":
    """Results of a scan from its store, loaded into memory.

    Raises:
        ValueError: the folder is not a scan.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> axes = {"mass": [1.0, 10.0], "coupling": [0.0, 1e-5]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = jc.scan(likelihood, axes, store=f"{folder}/scalar.zarr", progress=False)
        ...     result = jc.open_scan(f"{folder}/scalar.zarr")
        >>> bool(result.valid.all()), dict(result.sizes)
        (True, {'mass': 2, 'coupling': 2, 'nuisance': 5})
    """
    xarray, path = require_xarray(), Path(store)
    with _reading(path) as (group, names):
        axes: dict[str, Any] = {name: (name, np.asarray(group[name][:]), dict(group[name].attrs)) for name in names}
        absent = ~finished_rows(group, path)
        data: dict[str, Any] = {name: (names, np.asarray(group[name][:])) for name in FIELDS}
        for name, (_, fill) in FIELDS.items():
            data[name][1][absent] = fill
        settings = dict(group.attrs)["settings"]
        for name in settings["stacks"]:
            dimension = STACKS[name][1]
            data[name] = ([dimension, *names], np.asarray(group[name][:]))
            data[name][1][:, absent] = np.nan
            axes[dimension] = (dimension, list(group[name].attrs[dimension]), {})
        return xarray.Dataset(data, axes, {"settings": settings})


class Holdings(NamedTuple):
    """What a store holds.

    Attributes:
        points: of the grid.
        there: of units that are finished.
        valid: fits that are.
        chi2: lowest of them, infinite if there are none.
        at: axis to value, of that one.
    """

    points: int
    there: int
    valid: int
    chi2: float
    at: dict[str, float]


def holdings(store: str | Path) -> Holdings:
    """What a store holds, read unit by unit: memory does not grow with the grid.

    Raises:
        ValueError: the folder is not a scan, or is damaged.
    """
    path = Path(store)
    with _reading(path) as (group, names):
        whole, rows = finished_rows(group, path), group["chi2"].chunks[0]
        axes = [np.asarray(group[name][:]) for name in names]
        there, valid, lowest, at = 0, 0, np.inf, {}
        for first in range(0, len(whole), rows):
            if not whole[first]:
                continue
            part = slice(first, first + rows)
            good = np.asarray(group["valid"][part])
            chi2 = np.where(good, group["chi2"][part], np.inf)
            there, valid = there + good.size, valid + int(good.sum())
            if good.any() and chi2.min() < lowest:
                lowest = float(chi2.min())
                row, *others = (int(k) for k in np.unravel_index(chi2.argmin(), chi2.shape))
                at = {n: float(v[k]) for n, v, k in zip(names, axes, (first + row, *others), strict=True)}
        return Holdings(int(np.prod(group["chi2"].shape)), there, valid, lowest, at)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[Any, list[str]]]:
    """A verified group and the names of its axes; what is wrong with it is said."""
    zarr = require_zarr()
    try:
        check_files(path)
        group = zarr.open_group(str(path), mode="r", zarr_format=3)
        settings = dict(group.attrs)["settings"]
        names = list(group["chi2"].metadata.dimension_names)
        verify(group, path, {name: settings["axes"][name] for name in names})
        yield group, names
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"{path} is not a scan, or is damaged ({type(error).__name__}): "
            "choose another name, or restore or delete the folder"
        ) from None
