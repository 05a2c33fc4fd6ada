"""Scans: profile fits over a grid of theories, resumable, shared between processes and devices."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jcevns.constants import chi2_threshold
from jcevns.inference.batch import CHUNK, Profiles, prepare, profile_signals
from jcevns.inference.grid import Grid, grid_mixtures, grid_signals
from jcevns.inference.store import ScanStore
from jcevns.likelihood.joint import Likelihood
from jcevns.likelihood.poisson import TemplateModel
from jcevns.precision import require_x64

if TYPE_CHECKING:
    import xarray

__all__ = ["Contours", "contours", "open_scan", "scan"]

_UNIT_POINTS = 16384  # points per unit of work: a tenth of a second lost to a kill at most
_UNIT_NUMBERS = 32_000_000  # numbers of a signal per unit


def _settings(likelihood: Likelihood, theories: Grid) -> dict[str, Any]:
    """What identifies a scan: the theory, its axes, and every number of the likelihood."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((likelihood.model, likelihood.moments, likelihood.experiments)):
        digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    axes = {name: hashlib.sha256(values.tobytes()).hexdigest()[:16] for name, values in theories.axes.items()}
    first = theories.make(**{name: values[0] for name, values in theories.axes.items()})
    return {
        "theory": theories.name,
        "theory_structure": str(jax.tree.structure(first)),
        "theory_values": [np.asarray(x).tolist() for x in jax.tree.leaves(first)],
        "axes": axes,
        "dimensions": list(theories.axes),
        "shape": list(theories.shape),
        "experiments": list(likelihood.names),
        "nuisances": list(likelihood.nuisances),
        "numbers": digest.hexdigest()[:16],
        "dtype": str(likelihood.model.observed.dtype),
        "versions": {name: metadata.version(name) for name in ("jcevns", "jax", "jaxlib")},
        "unit_points": _UNIT_POINTS,
        "chunk": CHUNK,
    }


def _unit_rows(shape: tuple[int, ...], signal_size: int) -> int:
    """Rows of the first axis that are one unit of work: fewer where the signal at many anchors fills the memory."""
    points = min(_UNIT_POINTS, max(1, _UNIT_NUMBERS // signal_size))
    return int(min(shape[0], max(1, points // int(np.prod(shape[1:], dtype=int)))))


def _parse_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Which of how many shards this process is; the processes of `jax.distributed` share by themselves."""
    if shard is None:
        return (jax.process_index() + 1, jax.process_count())
    i, n = shard
    if not (1 <= i <= n):
        raise ValueError(f"shard {i}/{n}: write i/n with i from 1 to n")
    return i, n


def _record(fit: Profiles) -> dict[str, np.ndarray]:
    """A fit as it is stored: NaN where it is not valid."""
    return {
        "chi2": np.where(fit.valid, fit.chi2, np.nan),
        "edm": fit.edm,
        "valid": fit.valid,
        "pulls": fit.pulls,
    }


def scan(
    likelihood: Likelihood,
    theories: Grid,
    store: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool | Callable[[int], None] = True,
) -> "xarray.Dataset":
    """Profile fits over a grid of theories.

    Args:
        likelihood: the experiments.
        theories: the grid, from `jcevns.grid`.
        store: folder for the results (zarr). A store that exists is resumed: what is in it is not computed
            again. None keeps the results in memory.
        shard: (i, n), i from 1 to n: compute only this part, for job arrays that fill one store together.
            By default all of it, or this process's part under `jax.distributed`.
        progress: a bar on a terminal, or a function called with the number of points done.

    Returns:
        Dataset with `chi2`, `valid`, `edm` and `pulls` over the axes; chi2 is NaN where the fit is not valid,
        and where a shard of a store is not there yet.

    Raises:
        ValueError: a store of another scan or a damaged one, a bad shard.
        ImportError: xarray or zarr is missing.
        RuntimeError: in single precision.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> theories = jc.grid("scalar", mass=[1.0, 10.0], coupling=np.geomspace(1e-6, 1e-4, 5))
        >>> result = jc.scan(likelihood, theories, progress=False)
        >>> [round(x, 1) for x in result.chi2.sel(mass=10.0).values.tolist()]
        [3.9, 3.9, 13.4, 72.7, 73.3]
    """
    require_x64("a scan")
    xarray = _require_xarray()
    shape, rows = theories.shape, _unit_rows(theories.shape, likelihood.signal_size)
    settings = _settings(likelihood, theories)
    index, total = _parse_shard(shard)
    units = list(range(-(-shape[0] // rows)))
    mine = [unit for unit in units if unit % total == index - 1]
    if not mine:
        logging.getLogger(__name__).warning(
            "shard %d/%d has nothing to do: this grid makes %d units of work, ask for as many shards at most",
            index, total, len(units),
        )  # fmt: skip
    results: dict[int, dict[str, np.ndarray]] = {}
    if store is None:
        if total > 1:
            raise ValueError("a shard needs a store: the other parts would be lost")
        keep: Callable[[int, dict[str, np.ndarray]], None] = results.__setitem__
        todo = mine
    else:
        folder = ScanStore(Path(store), theories.axes, theories.units, rows, likelihood.nuisances, settings)
        finished = folder.done()
        keep, todo = folder.write, [unit for unit in mine if not finished[unit]]
    per_row = int(np.prod(shape[1:], dtype=int))
    sizes = {unit: (min((unit + 1) * rows, shape[0]) - unit * rows) * per_row for unit in mine}
    from tqdm import tqdm

    bar = tqdm(
        total=sum(sizes.values()),
        initial=sum(sizes[u] for u in mine if u not in todo),
        unit="fit",
        unit_scale=True,
        desc=theories.name,
        disable=None if progress is True else True,  # None: only on a terminal
    )

    def advance(points: int) -> None:
        bar.update(points)
        if callable(progress):
            progress(points)

    if todo and isinstance(likelihood.model, TemplateModel):
        prepare(likelihood)
    with bar:
        for unit in todo:
            part = slice(unit * rows, min((unit + 1) * rows, shape[0]))
            signals = (grid_mixtures if theories.factors else grid_signals)(likelihood, theories, part)
            fit = profile_signals(likelihood, signals, CHUNK, advance)
            keep(unit, _record(fit))
    if store is not None:
        return open_scan(store)
    fields = {
        name: np.concatenate([results[u][name] for u in units], axis=-1) for name in ("chi2", "edm", "valid", "pulls")
    }
    names = tuple(theories.axes)
    pulls = fields.pop("pulls").astype("float32").reshape(len(likelihood.nuisances), *shape)
    data = {name: (names, values.reshape(shape)) for name, values in fields.items()}
    data["pulls"] = (("nuisance", *names), pulls)
    coordinates: dict[str, Any] = {
        name: (name, values, {"units": theories.units[name]}) for name, values in theories.axes.items()
    }
    coordinates["nuisance"] = ("nuisance", list(likelihood.nuisances))
    return xarray.Dataset(data, coordinates, {"settings": settings})


def _require_xarray() -> Any:
    try:
        import xarray
    except ImportError:
        raise ImportError("scans need xarray: pip install 'jcevns[store]'") from None
    return xarray


def open_scan(store: str | Path) -> "xarray.Dataset":
    """Results of a scan from its store, loaded into memory.

    Raises:
        ValueError: the folder is not a scan.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> theories = jc.grid("scalar", mass=[1.0, 10.0], coupling=[0.0, 1e-5])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = jc.scan(likelihood, theories, store=f"{folder}/scalar.zarr", progress=False)
        ...     result = jc.open_scan(f"{folder}/scalar.zarr")
        >>> bool(result.valid.all()), dict(result.sizes)
        (True, {'mass': 2, 'coupling': 2, 'nuisance': 5})
    """
    from jcevns.inference.store import StoreError, require_zarr, verify

    xarray, zarr = _require_xarray(), require_zarr()
    try:
        group = zarr.open_group(str(store), mode="r", zarr_format=3)
        settings = dict(group.attrs)["settings"]
        names = list(group["chi2"].metadata.dimension_names)
        verify(group, Path(store), {name: settings["axes"][name] for name in names})
        axes: dict[str, Any] = {name: (name, np.asarray(group[name][:]), dict(group[name].attrs)) for name in names}
        data: dict[str, Any] = {name: (names, np.asarray(group[name][:])) for name in ("chi2", "edm", "valid")}
        data["pulls"] = (["nuisance", *names], np.asarray(group["pulls"][:]))
        axes["nuisance"] = ("nuisance", list(group["pulls"].attrs["nuisances"]), {})
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"{store} is not a scan, or is damaged ({type(error).__name__}): "
            "choose another name, or restore or delete the folder"
        ) from None
    return xarray.Dataset(data, axes, {"settings": settings})


@dataclasses.dataclass(frozen=True)
class Contours:
    """Border of a confidence region in the plane of a scan's two axes.

    Attributes:
        threshold: Delta chi2 from the minimum over the whole scan.
        lines: each of shape (point, 2), values of the second and of the first axis.
        chi2_min: minimum over the scan.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> theories = jc.grid("scalar", mass=np.geomspace(1.0, 100.0, 9), coupling=np.geomspace(1e-6, 1e-3, 31))
        >>> region = jc.contours(jc.scan(likelihood, theories, progress=False))
        >>> round(region.threshold, 4), round(region.chi2_min, 3), len(region.lines)
        (2.7055, 3.821, 1)
    """

    threshold: float
    lines: tuple[np.ndarray, ...]
    chi2_min: float


def contours(result: "xarray.Dataset", cl: float = 0.90, dof: int = 1) -> Contours:
    """Contours of a two-dimensional scan, interpolated on logarithmic axes where these are positive.

    Args:
        result: from `scan`, with two axes.
        cl: confidence level.
        dof: parameters of interest: 1 for the paper's convention (2.71 at 90%), 2 for a joint region (4.61).

    Raises:
        ValueError: the scan does not have two axes, or no valid point.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> theories = jc.grid("scalar", mass=np.geomspace(1.0, 100.0, 9), coupling=np.geomspace(1e-6, 1e-3, 31))
        >>> (line,) = jc.contours(jc.scan(likelihood, theories, progress=False)).lines
        >>> coupling, mass = line[line[:, 1].argmax()]
        >>> f"90% bound at {mass:.0f} MeV: {coupling:.2e}"
        '90% bound at 100 MeV: 3.55e-05'
    """
    import contourpy

    if result.chi2.ndim != 2:
        raise ValueError(f"contours need a scan of two axes, this one has {result.chi2.ndim}")
    chi2 = result.chi2.values
    if not np.any(np.isfinite(chi2)):
        raise ValueError("the scan holds no valid point")
    threshold, lowest = chi2_threshold(cl, dof), float(np.nanmin(chi2))
    y_name, x_name = result.chi2.dims
    x, y = result[x_name].values, result[y_name].values
    logs = [bool(np.all(v > 0)) for v in (x, y)]
    to_axis = [np.log(v) if log else v for v, log in zip((x, y), logs, strict=True)]
    generator = contourpy.contour_generator(to_axis[0], to_axis[1], np.ma.masked_invalid(chi2 - lowest))
    lines = []
    for line in generator.lines(threshold):
        columns = [np.exp(c) if log else c for c, log in zip(np.asarray(line).T, logs, strict=True)]
        lines.append(np.stack(columns, axis=1))
    return Contours(threshold, tuple(lines), lowest)
