"""Results of a scan on disk: one zarr group that many processes fill and any of them resumes.

A scan is cut into units, runs of rows of the first axis. A unit's arrays are written first, then its checksum,
then its flag: a process killed at any moment leaves a unit that is either whole or computed again. Each array
chunk is one unit, so processes that own different units never write the same file.
"""

import json
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ScanStore", "StoreError", "require_zarr"]

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
        self.nuisances = nuisances
        self.count = -(-self.shape[0] // rows)
        settings = json.loads(json.dumps(settings))  # as it will be read back
        zarr = require_zarr()
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, not a scan: choose another name")
        if self.path.exists() and any(self.path.iterdir()):
            self._open(zarr, settings)
        else:
            self._create(zarr, units, settings)

    def _create(self, zarr: Any, units: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        self.group = zarr.open_group(str(self.path), mode="a", zarr_format=3)
        names = tuple(self.axes)
        chunk = (self.rows, *self.shape[1:])
        # Two shards may get here together: they write the same metadata, and data only into their own chunks.
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
            axis.attrs["units"] = units.get(name, "")
        self._array("unit_checksum", (self.count,), (1,), "uint32", 0, ("unit",))
        self._array("unit_done", (self.count,), (1,), "uint8", 0, ("unit",))
        # Last: a store without settings was never finished making, and is made again.
        self.group.attrs.update({"format": _FORMAT, "settings": dict(settings)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not in the zarr 3 specification yet, but what xarray reads
            zarr.consolidate_metadata(str(self.path))

    def _array(self, name: str, shape: Any, chunks: Any, dtype: str, fill: Any, dimensions: Any) -> Any:
        return self.group.require_array(
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
            if set(self.group.array_keys()) <= {*FIELDS, *self.axes, "pulls", "unit_checksum", "unit_done"}:
                self._create(zarr, {}, settings)
                return
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
        """Check every finished unit against its checksum."""
        for unit in np.flatnonzero(self.done()):
            try:
                found = self._checksum(*(self._read(name, int(unit)) for name in (*FIELDS, "pulls")))
                expected = int(self.group["unit_checksum"][int(unit)])
            except Exception:
                found, expected = None, -1
            if found != expected:
                first, stop = self.rows_of(int(unit))
                raise StoreError(
                    f"{self.path}: rows {first} to {stop - 1} are damaged (checksum {found}, expected {expected}): "
                    "restore the folder, or delete it to compute the scan again"
                )

    def rows_of(self, unit: int) -> tuple[int, int]:
        """First row of a unit and the end of its rows."""
        return unit * self.rows, min((unit + 1) * self.rows, self.shape[0])

    def _read(self, name: str, unit: int) -> np.ndarray:
        first, stop = self.rows_of(unit)
        array = self.group[name]
        return np.asarray(array[:, first:stop] if name == "pulls" else array[first:stop])

    @staticmethod
    def _checksum(*arrays: np.ndarray) -> int:
        total = 0
        for array in arrays:
            total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
        return total

    def done(self) -> np.ndarray:
        """Which units are finished."""
        try:
            return np.asarray(self.group["unit_done"][:]) == 1
        except Exception:
            raise StoreError(f"{self.path}: the list of finished units is damaged: delete the folder") from None

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
        self.group["unit_checksum"][unit] = self._checksum(*ready.values())
        self.group["unit_done"][unit] = 1
