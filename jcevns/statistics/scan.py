"""Scans: profile fits over a grid of any parameters, resumable, shared between processes and devices."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jcevns.constants import chi2_threshold
from jcevns.fit.batch import relative_pulls
from jcevns.fit.surface import Evaluation, Surface
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.precision import require_x64
from jcevns.statistics.executors import spread
from jcevns.statistics.store import ScanStore, identity, open_scan, require_xarray
from jcevns.statistics.store_checks import (
    FIELDS,
    RESERVED,
    STACKS,
    check_size,
)

if TYPE_CHECKING:
    import xarray

__all__ = ["Contours", "contours", "fill_store", "scan"]

_UNIT_POINTS = 16384  # points per unit of work: a tenth of a second lost to a kill at most
_UNIT_NUMBERS = 32_000_000  # numbers of a signal per unit


def _checked_axes(likelihood: Likelihood, axes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Axes by full name."""
    if not axes:
        raise ValueError(f"a scan needs at least one axis: name a parameter, of {', '.join(likelihood.parameters)}")
    arrays = {}
    for name, values in zip(likelihood.parameters.full(axes), axes.values(), strict=True):
        record, array = likelihood.parameters[name], np.atleast_1d(np.asarray(values, float))
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"axis {name!r} has shape {array.shape}: give a row of at least one value")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"axis {name!r} holds values that are not finite")
        if np.unique(array).size != array.size:
            raise ValueError(f"axis {name!r} holds a value twice")
        for worst in (array.min(), array.max()):
            if not record.lower <= worst <= record.upper:
                unit = f" {record.unit}" if record.unit else ""
                raise ValueError(f"axis {name!r} holds {worst:g}, outside [{record.lower:g}, {record.upper:g}]{unit}")
        if name in RESERVED:
            raise ValueError(
                f"axis {name!r} has the name of a variable of every scan: call the parameter differently"
            )
        arrays[name] = array
    return arrays


def _unit_rows(shape: tuple[int, ...], signal_size: int) -> int:
    """Rows of the first axis that are one unit of work: fewer where the signal at many anchors fills the memory."""
    return int(min(shape[0], max(1, _most_points(signal_size) // int(np.prod(shape[1:], dtype=int)))))


def _most_points(signal_size: int) -> int:
    return min(_UNIT_POINTS, max(1, _UNIT_NUMBERS // signal_size))


def _parse_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Which of how many shards this process is; the processes of `jax.distributed` share by themselves."""
    if shard is None:
        return (jax.process_index() + 1, jax.process_count())
    i, n = shard
    if not (1 <= i <= n):
        raise ValueError(f"shard {i}/{n}: write i/n with i from 1 to n")
    return i, n


def _profiled_nuisances(surface: Surface) -> tuple[str, ...]:
    """Nuisances whose pulls are reported: those that do not stand still."""
    return tuple(n for n in surface.arrangement.nuisances if n not in surface.names and n not in surface.at)


def _profiled_values(surface: Surface, asked: Sequence[str]) -> tuple[str, ...]:
    """Profiled parameters whose values are reported: of the theory, and factors free of their constraint."""
    return (*surface.inner, *(n for n in surface.arrangement.nuisances if n in asked))


def _record(surface: Surface, found: Evaluation, names: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Fits as they are stored: chi2 is NaN where a fit is not valid."""
    model, nuisances = surface.arrangement.model, surface.arrangement.nuisances
    relative = relative_pulls(model, found.x)
    rows = [nuisances.index(n) for n in names["pulls"]]
    pulls = np.asarray(models.sigmas(model, relative))[rows]
    record = {"chi2": np.where(found.valid, found.chi2, np.nan), "edm": found.edm, "valid": found.valid}
    record["pulls"] = pulls.astype(STACKS["pulls"][0])
    if "profiled" in names:
        columns = dict(zip(surface.inner, found.profiled.T, strict=True))
        for name in names["profiled"]:
            if name in nuisances:
                columns[name] = (1 + relative[nuisances.index(name)]) * surface.likelihood.parameters[name].default
        record["profiled"] = np.stack([columns[name] for name in names["profiled"]])
    return record


def _points(axes: Mapping[str, np.ndarray], first: int, stop: int) -> np.ndarray:
    """Points of some rows of the first axis, the last axis fastest."""
    start, *others = axes.values()
    mesh = np.meshgrid(start[first:stop], *others, indexing="ij")
    return np.stack([column.ravel() for column in mesh], axis=1)


def scan(
    likelihood: Likelihood | Experiments,
    axes: Mapping[str, Any],
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
    store: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool | Callable[[int], None] = True,
    executor: Any = None,
) -> "xarray.Dataset":
    """Profile fits over a grid of any parameters, in any number of dimensions.

    Args:
        likelihood: the experiments and the theory.
        axes: name of a parameter to its values, in the order of the result's dimensions; the first varies slowest.
        at: values of other parameters, fixed.
        profiled: parameters without constraint that are profiled too; those with one are anyway.
        constrained: axes that keep their Gaussian constraint.
        store: folder for the results (zarr). A store that exists is resumed: what is in it is not computed
            again. None keeps the results in memory.
        shard: (i, n), i from 1 to n: compute only this part, for job arrays that fill one store together.
            By default all of it, or this process's part under `jax.distributed`.
        progress: a bar on a terminal, or a function called with the number of points done.
        executor: whose processes share the units: of `concurrent.futures`, started by `spawn`, a Dask client, or any
            with `submit`. They need the store's folder in common.

    Returns:
        Dataset with `chi2`, `valid`, `edm` and `pulls` (in standard deviations) over the axes, called by their full
        names, and `profiled`, the values of profiled parameters, if there are any; chi2 is NaN where the fit is not
        valid, and where a shard of a store is not there yet.

    Raises:
        ValueError: an unknown parameter, values beyond its bounds, a store of another scan or a damaged one, a bad
            shard.
        ImportError: xarray or zarr is missing.
        RuntimeError: in single precision.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> axes = {"mass": [1.0, 10.0], "coupling": np.geomspace(1e-6, 1e-4, 5)}
        >>> result = jc.scan(likelihood, axes, progress=False)
        >>> [round(x, 1) for x in result.chi2.sel(mass=10.0).values.tolist()]
        [3.9, 3.9, 13.4, 72.7, 73.3]
    """
    xarray = require_xarray()
    if store is not None:
        fill_store(likelihood, axes, store, at, profiled, constrained, shard, progress, executor)
        return open_scan(store)
    if executor is not None or _parse_shard(shard)[1] > 1:
        what = "a shard" if executor is None else "an executor"
        raise ValueError(f"{what} needs a store: the other parts would be lost")
    work = _Work(likelihood, axes, at, profiled, constrained)
    results: dict[int, dict[str, np.ndarray]] = {}
    work.compute(work.units, results.__setitem__, progress)
    data: dict[str, Any] = {}
    for name in (*FIELDS, *work.labels):
        whole = np.concatenate([results[u][name] for u in work.units], axis=-1)
        front = (STACKS[name][1],) if name in work.labels else ()
        data[name] = ((*front, *work.axes), whole.reshape(*whole.shape[:-1], *work.shape))
    coordinates: dict[str, Any] = {n: (n, v, {"units": work.dimensions[n]}) for n, v in work.axes.items()}
    coordinates |= {STACKS[n][1]: (STACKS[n][1], list(entries)) for n, entries in work.labels.items()}
    return xarray.Dataset(data, coordinates, {"settings": work.settings})


def fill_store(
    likelihood: Likelihood | Experiments,
    axes: Mapping[str, Any],
    store: str | Path,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
    shard: tuple[int, int] | None = None,
    progress: bool | Callable[[int], None] = True,
    executor: Any = None,
) -> None:
    """`scan` into a store, of which nothing is read back: memory does not grow with the grid. Arguments as there."""
    if executor is not None and shard is not None:
        raise ValueError("shard and executor: each shares the units of work, give one")
    index, total = _parse_shard(shard)
    work = _Work(likelihood, axes, at, profiled, constrained)
    folder = ScanStore(Path(store), work.axes, work.dimensions, work.rows, work.labels, work.settings)
    finished = folder.done()
    if executor is not None:
        todo = [unit for unit in work.units if not finished[unit]]
        asked = (likelihood, axes, str(Path(store).resolve()), at, profiled, constrained)
        with _Progress(work, progress) as done:
            done.begin(work.units, todo)
            for units in spread(executor, fill_store, asked, todo, len(work.units)):
                done.expect(size := sum(map(work.size, units)))
                done.advance(size)
        return
    mine = [unit for unit in work.units if unit % total == index - 1]
    if not mine:
        logging.getLogger(__name__).warning(
            "shard %d/%d has nothing to do: this grid makes %d units of work, ask for as many shards at most",
            index, total, len(work.units),
        )  # fmt: skip
    work.compute(mine, folder.write, progress, [unit for unit in mine if not finished[unit]])


class _Work:
    """What there is to compute: units, runs of rows of the first axis."""

    def __init__(
        self,
        likelihood: Likelihood | Experiments,
        axes: Mapping[str, Any],
        at: Mapping[str, Any] | None,
        profiled: str | Sequence[str],
        constrained: str | Sequence[str],
    ):
        require_x64("a scan")
        likelihood = with_data(likelihood, "a scan")
        self.axes = _checked_axes(likelihood, axes)
        asked = likelihood.parameters.full(profiled)
        self.surface = surface = Surface(likelihood, tuple(self.axes), at, constrained, asked)
        self.dimensions = {record.name: record.unit for record in surface.records}
        self.shape = tuple(len(values) for values in self.axes.values())
        self.rows = _unit_rows(self.shape, likelihood.signal_size)
        self.labels = {"pulls": _profiled_nuisances(surface)}
        if values := _profiled_values(surface, asked):
            self.labels["profiled"] = values
        check_size("the scan's", self.shape, sum(map(len, self.labels.values())), self.rows)
        self.chunk = surface.batch_size(int(np.prod(self.shape)))
        found = identity(surface, self.axes, asked, self.labels)
        self.settings = found | {"unit_points": _UNIT_POINTS, "chunk": self.chunk}
        self.units = range(-(-self.shape[0] // self.rows))

    def size(self, unit: int) -> int:
        """Points of a unit."""
        return int(np.prod((min(self.rows, self.shape[0] - unit * self.rows), *self.shape[1:])))

    def compute(
        self,
        mine: Sequence[int],
        keep: Callable[[int, dict[str, np.ndarray]], None],
        progress: bool | Callable[[int], None],
        todo: Sequence[int] | None = None,
    ) -> None:
        """Fit the units of `todo`, all of `mine` if absent, and keep each."""
        todo = mine if todo is None else todo
        if todo:
            self.surface.prepare(self.chunk)
        with _Progress(self, progress) as done:
            done.begin(mine, todo)
            for unit in todo:
                points = _points(self.axes, unit * self.rows, (unit + 1) * self.rows)
                keep(unit, _fitted(self.surface, points, self.labels, self.chunk, done))


def _fitted(
    surface: Surface, points: np.ndarray, labels: Mapping[str, tuple[str, ...]], chunk: int, done: "_Progress"
) -> dict[str, np.ndarray]:
    """Fits of one unit, a row that is too long for the memory in pieces."""
    most = _most_points(surface.likelihood.signal_size)
    parts = []
    for first in range(0, len(points), most):
        piece = points[first : first + most]
        done.expect(len(piece))
        parts.append(_record(surface, surface.evaluate(piece, chunk=chunk, progress=done.advance), labels))
        done.advance(len(piece))
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


class _Progress:
    """A bar, and whoever else counts the points."""

    def __init__(self, work: _Work, progress: bool | Callable[[int], None]):
        self.work, self.progress, self.left = work, progress, 0

    def __enter__(self) -> "_Progress":
        from tqdm import tqdm

        off = None if self.progress is True else True  # None: only on a terminal
        self.bar = tqdm(unit="fit", unit_scale=True, desc=str(self.work.settings["theory"]), disable=off)
        return self

    def __exit__(self, *reason: object) -> None:
        self.bar.close()

    def begin(self, mine: Sequence[int], todo: Sequence[int]) -> None:
        """Say which units there are, and which of them are computed."""
        total, left = (sum(map(self.work.size, units)) for units in (mine, todo))
        self.bar.reset(total)
        self.bar.update(total - left)

    def expect(self, points: int) -> None:
        """Points that are coming: a fit may count those that it adds to fill a batch, or count nothing."""
        self.left = points

    def advance(self, points: int) -> None:
        """Count points that are done."""
        points = min(points, self.left)
        self.left -= points
        if points:
            self.bar.update(points)
            if callable(self.progress):
                self.progress(points)


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
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> axes = {"mass": np.geomspace(1.0, 100.0, 9), "coupling": np.geomspace(1e-6, 1e-3, 31)}
        >>> region = jc.contours(jc.scan(likelihood, axes, progress=False))
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
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> axes = {"mass": np.geomspace(1.0, 100.0, 9), "coupling": np.geomspace(1e-6, 1e-3, 31)}
        >>> (line,) = jc.contours(jc.scan(likelihood, axes, progress=False)).lines
        >>> coupling, mass = line[line[:, 1].argmax()]
        >>> f"90% bound at {mass:.0f} MeV: {coupling:.2e}"
        '90% bound at 100 MeV: 3.55e-05'
    """
    import contourpy

    if result.chi2.ndim != 2:
        raise ValueError(f"contours need a scan of two axes, this one has {result.chi2.ndim}")
    if not np.any(np.isfinite(result.chi2.values)):
        raise ValueError("the scan holds no valid point")
    threshold, lowest = chi2_threshold(cl, dof), float(np.nanmin(result.chi2.values))
    y_name, x_name = result.chi2.dims
    for name in (y_name, x_name):
        if result.sizes[name] < 2:
            raise ValueError(
                f"contours need two values or more on each axis, {name} has one: `plot_scan_curve` draws the curve, "
                "`limits` finds what is excluded"
            )
    result = result.sortby([y_name, x_name])
    chi2 = result.chi2.values
    x, y = result[x_name].values, result[y_name].values
    logs = [bool(np.all(v > 0)) for v in (x, y)]
    to_axis = [np.log(v) if log else v for v, log in zip((x, y), logs, strict=True)]
    generator = contourpy.contour_generator(to_axis[0], to_axis[1], np.ma.masked_invalid(chi2 - lowest))
    lines = []
    for line in generator.lines(threshold):
        columns = [np.exp(c) if log else c for c, log in zip(np.asarray(line).T, logs, strict=True)]
        lines.append(np.stack(columns, axis=1))
    return Contours(threshold, tuple(lines), lowest)
