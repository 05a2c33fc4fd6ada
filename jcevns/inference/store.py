"""Results of a scan on disk: one zarr group that many processes fill and any of them resumes.

A scan is cut into units, runs of rows of the first axis. A unit's arrays are written first, then its checksum,
then its flag: a process killed at any moment leaves a unit that is either whole or computed again. Each array
chunk is one unit, so processes that own different units never write the same file.
"""

import hashlib
import json
import shutil
import uuid
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ScanStore", "StoreError", "require_zarr", "verify"]

_FORMAT = 1
FIELDS = {"chi2": ("float64", np.nan), "edm": ("float32", np.nan), "valid": ("bool", False)}
"""Variables with one value per point: type and fill value."""


class StoreError(ValueError):
    """A store is damaged, or belongs to another scan; the message says which and what to do."""


def require_zarr() -> Any:
    """The zarr module, or an error that says what to install."""
    try:
        import zarr
    except ImportError:
        raise ImportError("storing a scan needs zarr: pip install 'jcevns[store]'") from None
    return zarr


_REMEDY = "restore the folder, or delete it to compute the scan again"


def _checksum(*arrays: np.ndarray) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


def _done(group: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(group["unit_done"][:]) == 1
    except Exception:
        raise StoreError(f"{path}: the list of finished units is damaged: {_REMEDY}") from None


def verify(group: Any, path: Path, axes: Mapping[str, np.ndarray | str]) -> None:
    """Check the axes (values, or the start of their SHA-256) and every finished unit of a store.

    Raises:
        StoreError: something is damaged.
    """
    for name, expected in axes.items():
        try:
            found = np.asarray(group[name][:])
            digest = hashlib.sha256(found.tobytes()).hexdigest()[:16]
            good = digest == expected if isinstance(expected, str) else np.array_equal(found, expected)
        except Exception:
            good = False
        if not good:
            raise StoreError(f"{path}: the axis {name!r} is damaged: {_REMEDY}")
    for unit in map(int, np.flatnonzero(_done(group, path))):
        rows, size = group["chi2"].chunks[0], group["chi2"].shape[0]
        part = slice(unit * rows, min((unit + 1) * rows, size))
        try:
            found = _checksum(
                *(np.asarray(group[name][part]) for name in FIELDS), np.asarray(group["pulls"][:, part])
            )
            expected = int(group["unit_checksum"][unit])
        except Exception:
            found, expected = None, -1
        if found != expected:
            raise StoreError(
                f"{path}: rows {part.start} to {part.stop - 1} are damaged (checksum {found}, expected {expected}): "
                f"{_REMEDY}"
            )


class ScanStore:
    """The store of one scan.

    Args:
        path: folder, conventionally ending in .zarr; made if missing.
        axes: name to values, in the order of the dimensions.
        units: unit of each axis.
        rows: rows of the first axis per unit.
        nuisances: names, in the order of the pulls.
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
        nuisances: tuple[str, ...],
        settings: Mapping[str, Any],
    ):
        self.path, self.axes, self.rows = Path(path), dict(axes), rows
        self.shape = tuple(len(v) for v in axes.values())
        self.nuisances, self.units = nuisances, dict(units)
        self.count = -(-self.shape[0] // rows)
        settings = json.loads(json.dumps(settings))  # as it will be read back
        zarr = require_zarr()
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, not a scan: choose another name")
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
        pulls = self._array(
            "pulls",
            (len(self.nuisances), *self.shape),
            (max(len(self.nuisances), 1), *chunk),
            "float32",
            np.nan,
            ("nuisance", *names),
        )
        pulls.attrs["nuisances"] = list(self.nuisances)
        pulls.attrs["description"] = "relative pulls (factor - 1) at the minimum"
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
                f"{k}: {str(stored.get(k))[:60]} stored, {str(settings.get(k))[:60]} wanted" for k in keys[:3]
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
        return _done(self.group, self.path)

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> None:
        """Write the results of a unit: `FIELDS` and `pulls`, shaped as their part of the grid."""
        first, stop = self.rows_of(unit)
        shape = (stop - first, *self.shape[1:])
        ready = {name: np.asarray(values[name], kind).reshape(shape) for name, (kind, _) in FIELDS.items()}
        ready["pulls"] = np.asarray(values["pulls"], "float32").reshape(len(self.nuisances), *shape)
        for name, array in ready.items():
            if name == "pulls":
                self.group[name][:, first:stop] = array
            else:
                self.group[name][first:stop] = array
        self.group["unit_checksum"][unit] = _checksum(*ready.values())
        self.group["unit_done"][unit] = 1
