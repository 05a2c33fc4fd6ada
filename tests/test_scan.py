"""Scans: values, resuming, sharing, damage, contours."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal as signals
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

import jcevns.statistics.scan as engine
from jcevns import Likelihood, profile, theory
from jcevns.statistics.scan import contours, scan
from jcevns.statistics.store import ScanStore, holdings, open_scan
from jcevns.statistics.store_checks import StoreError
from tests import users
from tests.reference import ROOT

MASSES, COUPLINGS = np.geomspace(0.1, 1e3, 200), np.geomspace(1e-6, 1e-2, 200)
UNIT = 2000

DRIVER = """
import os, sys, time
import jax
jax.config.update("jax_enable_x64", True)
store, unit, shard, processes, port, ready, pause = sys.argv[1:]
if port != "-":
    jax.distributed.initialize("localhost:" + port, 2, int(shard))
import numpy as np
import jcevns
import jcevns.statistics.scan as engine

engine._UNIT_POINTS = int(unit)
likelihood = jcevns.Likelihood("xenonnt-2024-s2", "vector")
axes = {"mass": np.geomspace(0.1, 1e3, 200), "coupling": np.geomspace(1e-6, 1e-2, 200)}
if ready != "-":  # all at once
    open(ready + shard, "w").close()
    while not all(os.path.exists(ready + str(i + 1)) for i in range(int(processes))):
        time.sleep(1e-4)
part = (int(shard), int(processes)) if ready != "-" else None
engine.scan(likelihood, axes, store=store, shard=part, progress=lambda points: time.sleep(float(pause)))
print(jax.local_device_count(), jax.process_count())
"""


def start(store, unit=UNIT, shard=1, processes=1, port="-", ready="-", pause=0.0, flags="") -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA", "PYTHON", "JCEVNS"))}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", DRIVER]
        + [str(x) for x in (store, unit, shard, processes, port, ready, pause)],
        cwd=ROOT,
        env={**kept, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    said = [process.communicate(timeout=120) for process in processes]
    assert [p.returncode for p in processes] == [0] * len(processes), "\n".join(err for _, err in said)
    return [out for out, _ in said]


def arrays(store: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(str(store), mode="r")
    return {name: np.asarray(array[:]) for name, array in group.arrays()}


def assert_identical(a: Path, b: Path) -> None:
    first, second = arrays(a), arrays(b)
    assert first.keys() == second.keys() >= {"chi2", "edm", "valid", "pulls", "mass", "coupling"}
    for name, values in first.items():
        assert values.dtype == second[name].dtype, name
        assert values.tobytes() == second[name].tobytes(), name


LARGE = {"mass": MASSES, "coupling": COUPLINGS}


@pytest.fixture(scope="module")
def vector(likelihoods) -> Likelihood:
    return likelihoods["xenonnt"].under("vector")


def run_here(likelihood, store: Path, unit: int = UNIT) -> xarray.Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_UNIT_POINTS", unit)
        return scan(likelihood, LARGE, store=store, progress=False)


@pytest.fixture(scope="module")
def whole(vector, tmp_path_factory) -> Path:
    """The scan in one go."""
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    run_here(vector, path)
    return path


def test_values_are_those_of_profile(whole, vector) -> None:
    result, rng = open_scan(whole), np.random.default_rng(0)
    assert result.chi2.dims == ("mass", "coupling")
    assert bool(result.valid.all())
    for i, j in rng.integers(0, 200, (25, 2)):
        fit = profile(vector, {"mass": MASSES[i], "coupling": COUPLINGS[j]})
        here = result.isel(mass=i, coupling=j)
        assert float(here.chi2) == pytest.approx(float(fit.chi2), rel=1e-12, abs=1e-9)
        np.testing.assert_allclose(here.pulls, fit.pulls, rtol=2e-7, atol=2e-5)
    assert list(result.nuisance.values) == list(vector.nuisances)
    np.testing.assert_array_equal(result.mass, MASSES)


def test_memory_and_store_agree(whole, vector) -> None:
    kept = scan(vector, LARGE, progress=False)
    stored = open_scan(whole)
    assert set(kept) == set(stored)
    assert kept.coupling.attrs == stored.coupling.attrs
    assert kept.mass.attrs == stored.mass.attrs == {"units": "MeV"}
    np.testing.assert_allclose(kept.chi2, stored.chi2, rtol=1e-12)
    np.testing.assert_allclose(kept.pulls, stored.pulls, rtol=2e-7, atol=2e-6)


def test_xarray_reads_the_store(whole) -> None:
    with xarray.open_zarr(whole) as opened:
        assert opened.mass.attrs["units"] == "MeV"
        np.testing.assert_array_equal(opened.chi2, open_scan(whole).chi2)
        assert opened.chi2.dims == ("mass", "coupling")
        assert opened.pulls.dims == ("nuisance", "mass", "coupling")
        settings = opened.attrs["settings"]
    assert set(settings["versions"]) >= {"jcevns", "jax", "jaxlib"}
    assert settings["theory"] == "vector"
    assert settings["experiments"] == ["xenonnt-2024-s2"]
    assert len(settings["numbers"]) == 16
    assert open_scan(whole).attrs["settings"] == settings


def test_resume_after_sigkill(whole, vector, tmp_path) -> None:
    store = tmp_path / "scan.zarr"
    process = start(store, pause=0.15)
    flags = store / "unit_done" / "c"
    deadline = time.monotonic() + 100
    while not (flags.is_dir() and len(list(flags.iterdir())) >= 3) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signals.SIGKILL)
    process.communicate()
    done = np.flatnonzero(arrays(store)["unit_done"])
    assert 2 <= done.size < 20
    assert np.isnan(open_scan(store).chi2).any()
    files = [store / "chi2" / "c" / str(u) / "0" for u in done]
    files += [store / "pulls" / "c" / "0" / str(u) / "0" for u in done]
    before = [f.stat().st_mtime_ns for f in files]
    run_here(vector, store)
    assert [f.stat().st_mtime_ns for f in files] == before
    assert_identical(store, whole)


def test_two_shards_side_by_side(whole, tmp_path) -> None:
    store = tmp_path / "scan.zarr"
    finish(*(start(store, shard=i, processes=2, ready=tmp_path / "ready") for i in (1, 2)))
    assert_identical(store, whole)
    assert open_scan(store).mass.attrs["units"] == "MeV"


def test_two_devices(whole, tmp_path) -> None:
    store = tmp_path / "scan.zarr"
    (out,) = finish(start(store, unit=16384, flags="--xla_force_host_platform_device_count=2"))
    assert out.split() == ["2", "1"]
    found, expected = open_scan(store), open_scan(whole)
    np.testing.assert_allclose(found.chi2, expected.chi2, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.pulls, expected.pulls, rtol=2e-7, atol=2e-6)


def test_two_processes_of_jax_distributed(whole, tmp_path) -> None:
    store = tmp_path / "scan.zarr"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for out in finish(*(start(store, shard=i, port=port) for i in (0, 1))):
        assert out.split()[-1] == "2"
    found, expected = open_scan(store), open_scan(whole)
    assert bool(found.valid.all())
    np.testing.assert_allclose(found.chi2, expected.chi2, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["python", "dask"])
def test_executors(kind, vector, tmp_path, monkeypatch) -> None:
    """Two processes, which begin in single precision, share three units; what is there is not computed again."""
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    scan(vector, LARGE, store=tmp_path / "here.zarr", progress=False)
    store, seen = tmp_path / "there.zarr", []
    with _processes(kind, tmp_path) as executor:
        scan(vector, LARGE, store=store, shard=(1, 3), progress=False)
        ours = (store / "chi2" / "c" / "0" / "0").stat().st_mtime_ns
        result = scan(vector, LARGE, store=store, progress=seen.append, executor=executor)
    assert sum(seen) == result.chi2.size - 81 * 200
    assert (store / "chi2" / "c" / "0" / "0").stat().st_mtime_ns == ours
    assert_identical(store, tmp_path / "here.zarr")


@contextlib.contextmanager
def _processes(kind: str, folder: Path) -> Iterator[Any]:
    if kind == "python":
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield pool
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=str(folder)) as cluster,
        Client(cluster) as client,
    ):
        yield client


class _Broken(Executor):
    def submit(self, task, /, *given, **named) -> Future:
        future: Future = Future()
        future.set_exception(OSError("worker lost"))
        return future


def test_executors_that_fail(again, tmp_path) -> None:
    """What a worker raised is raised; what the executor cannot do is said before."""
    with pytest.raises(OSError, match="worker lost"):
        again(tmp_path / "a.zarr", executor=_Broken())
    assert np.isnan(open_scan(tmp_path / "a.zarr").chi2).all()
    with pytest.raises(TypeError, match=r"executor 2 has no submit\(\)"):
        again(tmp_path / "b.zarr", executor=2)
    with pytest.raises(ValueError, match="an executor needs a store"):
        again(None, executor=_Broken())
    with pytest.raises(ValueError, match="give one"):
        again(tmp_path / "c.zarr", executor=_Broken(), shard=(1, 2))


def test_holdings_of_a_store(small, again, tmp_path) -> None:
    result, found = open_scan(small), holdings(small)
    assert (found.points, found.there, found.valid) == (12, 12, int(result.valid.sum()))
    assert found.chi2 == float(result.chi2.min())
    assert float(result.chi2.sel(found.at)) == found.chi2
    again(tmp_path / "half.zarr", shard=(2, 2))
    assert holdings(tmp_path / "half.zarr").there == 6
    with pytest.raises(StoreError, match="is not a scan"):
        holdings(tmp_path)


# A small scan of two units ------------------------------------------------------------------------------------

SMALL = {"mass": [1.0, 10.0, 30.0, 100.0], "coupling": [1e-6, 5e-6, 2e-5]}


@pytest.fixture(scope="module")
def small(likelihoods, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("small") / "scan.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_UNIT_POINTS", 6)
        scan(likelihoods["xenonnt"].under("scalar"), SMALL, store=path, progress=False)
    return path


@pytest.fixture
def again(likelihoods, monkeypatch):
    monkeypatch.setattr(engine, "_UNIT_POINTS", 6)
    return lambda store, axes=SMALL, data="xenonnt", interaction="scalar", **kw: scan(
        likelihoods[data].under(interaction), axes, store=store, progress=False, **kw
    )


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0), (-1, 2)])
def test_bad_shard(shard, again, tmp_path) -> None:
    with pytest.raises(ValueError, match=f"shard {shard[0]}/{shard[1]}: write i/n with i from 1 to n"):
        again(tmp_path / "scan.zarr", shard=shard)
    assert not (tmp_path / "scan.zarr").exists()


def test_shard_without_store(again) -> None:
    with pytest.raises(ValueError, match="a shard needs a store"):
        again(None, shard=(1, 2))


def test_shards_one_after_the_other(small, again, tmp_path) -> None:
    store = tmp_path / "scan.zarr"
    half = again(store, shard=(2, 2))
    assert np.array_equal(np.isfinite(half.chi2).all("coupling"), [False, False, True, True])
    again(store, shard=(1, 3))
    again(store)
    assert_identical(store, small)


def test_progress_counts_what_is_computed(again, tmp_path, likelihoods) -> None:
    seen, likelihood = [], likelihoods["xenonnt"].under("scalar")
    scan(likelihood, SMALL, store=tmp_path / "a.zarr", shard=(1, 2), progress=seen.append)
    assert sum(seen) == 6
    scan(likelihood, SMALL, store=tmp_path / "a.zarr", progress=seen.append)
    assert sum(seen) == 12
    scan(likelihood, SMALL, store=tmp_path / "a.zarr", progress=seen.append)
    assert sum(seen) == 12


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"interaction": "vector"}, ["theory"]),
        ({"interaction": theory("scalar", flavours=(0, 1, 0))}, ["theory_values"]),
        ({"axes": {**SMALL, "mass": [1.0, 10.0, 30.0, 99.0]}}, ["axes"]),
        ({"axes": {**SMALL, "mass": [1.0, 10.0]}}, ["axes", "shape"]),
        ({"axes": dict(reversed(SMALL.items()))}, ["shape"]),
        ({"at": {"flux": 5e6}}, ["at"]),
        ({"at": {"accidental": 1.1}}, ["at"]),
        ({"profiled": "sin2w"}, ["profiled"]),
        ({"data": "pandax"}, ["experiments", "numbers", "nuisances"]),
    ],
)
def test_store_of_another_scan(changes, names, small, again) -> None:
    before = arrays(small)
    with pytest.raises(StoreError, match=r"belongs to another scan .*: delete it or choose another name") as caught:
        again(small, **changes)
    for name in names:
        assert re.search(rf"\b{name}: .*stored.*asked for", str(caught.value))
    for name, values in arrays(small).items():
        assert values.tobytes() == before[name].tobytes()


def test_swapped_axes_of_a_square_are_another_scan(again, tmp_path) -> None:
    axes = {"mass": [1.0, 10.0, 30.0], "coupling": [1e-6, 5e-6, 2e-5]}
    again(tmp_path / "scan.zarr", axes)
    with pytest.raises(StoreError, match="belongs to another scan"):
        again(tmp_path / "scan.zarr", dict(reversed(axes.items())))


def test_a_constraint_that_is_kept_is_another_scan(again, tmp_path) -> None:
    axes = {"flux": [4e6, 5e6, 6e6]}
    again(tmp_path / "scan.zarr", axes)
    with pytest.raises(StoreError, match=r"constrained: \[\] stored"):
        again(tmp_path / "scan.zarr", axes, constrained="flux")


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x15]) + content[middle + 1 :]


DAMAGE = {"truncated": truncated, "flipped": flipped, "emptied": lambda content: b"", "missing": None}


def survivors(small: Path, folder: Path, damage: str, read) -> list[str]:
    """Files that may be damaged without an error and with another result."""
    expected, bad = open_scan(small), []
    for number, file in enumerate(sorted(p.relative_to(small) for p in small.rglob("*") if p.is_file())):
        copy = folder / f"{number}.zarr"
        shutil.copytree(small, copy)
        content = (copy / file).read_bytes()
        (copy / file).unlink() if DAMAGE[damage] is None else (copy / file).write_bytes(DAMAGE[damage](content))
        try:
            found = read(copy)
        except StoreError as error:
            if not any(word in str(error) for word in ("delete", "choose another name", "restore")):
                bad.append(f"{file}: no remedy in {error}")
        except Exception as error:  # what the caller is not told to expect
            bad.append(f"{file}: {type(error).__name__}: {error}")
        else:
            if not (found.equals(expected) and found.mass.attrs == expected.mass.attrs):
                bad.append(f"{file}: another result")
    return bad


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_store_is_refused_or_healed_by_scan(damage, small, again, tmp_path) -> None:
    assert survivors(small, tmp_path, damage, again) == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_store_is_refused_by_open_scan(damage, small, tmp_path) -> None:
    assert survivors(small, tmp_path, damage, open_scan) == []


def test_damaged_rows_are_named(small, again, tmp_path) -> None:
    copy = shutil.copytree(small, tmp_path / "scan.zarr")
    chunk = copy / "chi2" / "c" / "1" / "0"
    chunk.write_bytes(truncated(chunk.read_bytes()))
    with pytest.raises(StoreError, match=r"rows 2 to 3 are damaged .*restore the folder, or delete it"):
        again(copy)


def test_foreign_folder_and_file(again, tmp_path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(StoreError, match=r"is not a scan.*choose another name"):
        again(foreign)
    assert [p.name for p in foreign.iterdir()] == ["cat.jpg"]
    group = zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    group.create_array("temperature", shape=(3,), dtype="float64")
    with pytest.raises(StoreError, match="is a zarr group but not a scan: delete it or choose another name"):
        again(tmp_path / "other.zarr")
    (tmp_path / "file").write_text("text")
    with pytest.raises(StoreError, match="is a file, not a scan: choose another name"):
        again(tmp_path / "file")
    for name in ("photos", "other.zarr", "file", "nothing"):
        with pytest.raises(StoreError, match="is not a scan"):
            open_scan(tmp_path / name)


@pytest.mark.parametrize("step", range(9))
def test_killed_while_the_store_is_made(step, small, again, tmp_path, monkeypatch) -> None:
    """After `step` of the eight arrays; at 8 just before the settings are written."""
    make, calls = ScanStore._array, []

    def dying(self, *arguments):
        calls.append(arguments)
        if len(calls) > step:
            raise KeyboardInterrupt
        return make(self, *arguments)

    store = tmp_path / "scan.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(ScanStore, "_array", dying)
        if step == 8:
            patch.setattr(zarr.Group, "attrs", property(lambda self: (_ for _ in ()).throw(KeyboardInterrupt)))
        with pytest.raises(KeyboardInterrupt):
            again(store)
    result = again(store)
    assert_identical(store, small)
    assert result.mass.attrs == {"units": "MeV"}


@pytest.mark.parametrize("module", ["xarray", "zarr"])
def test_missing_package(module, again, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs? {module}: pip install 'jcevns\[store\]'"):
        again(tmp_path / "scan.zarr")
    if module == "zarr":
        assert again(None).chi2.shape == (4, 3)


# Any parameters -----------------------------------------------------------------------------------------------

LARGEST = {"kappa": [-1.0, 0.5, 2.0], "range": [1.0, 3.0, 10.0, 30.0], "strength": [0.0, 0.2, 0.5, 1.0, 3.0]}


@pytest.fixture(scope="module")
def mine(likelihoods) -> Likelihood:
    return likelihoods["xenonnt"].under(users.Mine())


def test_three_parameters_of_a_users_class_resumed(mine, tmp_path, monkeypatch) -> None:
    """One of the three is inside `terms`."""
    monkeypatch.setattr(engine, "_UNIT_POINTS", 20)
    store, seen = tmp_path / "mine.zarr", []
    whole = scan(mine, LARGEST, progress=False)
    part = scan(mine, LARGEST, store=store, shard=(2, 3), progress=False)
    assert np.isfinite(part.chi2).sum() == 20
    resumed = scan(mine, LARGEST, store=store, progress=seen.append)
    assert sum(seen) == 40
    assert resumed.chi2.dims == ("kappa", "range", "strength")
    assert resumed.range.attrs == {"units": "MeV"}
    np.testing.assert_array_equal(resumed.chi2, whole.chi2)
    np.testing.assert_array_equal(resumed.pulls, whole.pulls)
    assert bool(whole.valid.all())
    rng = np.random.default_rng(2)
    for i, j, k in rng.integers(0, (3, 4, 5), (6, 3)):
        at = {name: values[n] for n, (name, values) in zip((i, j, k), LARGEST.items(), strict=True)}
        assert float(whole.chi2[i, j, k]) == pytest.approx(float(profile(mine, at).chi2), abs=1e-9)


def test_a_users_class_whose_code_has_changed_is_another_scan(mine, tmp_path) -> None:
    class Mine(users.Mine):
        def terms(self, recoil, particle, flavour):
            return 1.01 * super().terms(recoil, particle, flavour)

    axes = {"strength": [0.1, 0.2]}
    scan(mine, axes, store=tmp_path / "mine.zarr", progress=False)
    with pytest.raises(StoreError, match=r"theory_signal: .*stored"):
        scan(mine.under(Mine()), axes, store=tmp_path / "mine.zarr", progress=False)


def test_scan_over_a_nuisance_and_a_flux(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    names = ("xenonnt-2024-s2.accidental", "flux.b8")
    axes = {names[0]: [0.0, 0.9, 1.2], "flux": [0.0, 5e6, 2e7]}
    result = scan(likelihood, axes, progress=False)
    assert result.chi2.dims == names
    assert result["flux.b8"].attrs == {"units": "cm^-2 s^-1"}
    assert not set(names) & set(result.nuisance.values.tolist())
    for i, j in ((1, 0), (1, 2), (2, 1)):
        fit = profile(likelihood, {n: v[k] for k, (n, v) in zip((i, j), axes.items(), strict=True)})
        assert float(result.chi2[i, j]) == pytest.approx(float(fit.chi2), abs=1e-8)
        left = [fit.names.index(n) for n in result.nuisance.values]
        np.testing.assert_allclose(result.pulls[:, i, j], np.asarray(fit.pulls)[left], rtol=1e-5, atol=1e-4)


def test_a_kept_constraint_adds_its_square(likelihoods) -> None:
    likelihood, flux = likelihoods["xenonnt"], [3e6, 5.46e6, 8e6]
    free, kept = (
        scan(likelihood, {"flux": flux}, constrained=c, progress=False).chi2.values for c in ((), ("flux",))
    )
    np.testing.assert_allclose(kept - free, ((np.array(flux) / 5.46e6 - 1) / 0.12) ** 2, atol=1e-9)


def test_profiled_parameters_and_their_values(likelihoods, tmp_path) -> None:
    """The minimum over sin2w and the flux, by other means, at some masses and couplings."""
    likelihood = likelihoods["xenonnt"].under("vector")
    axes = {"mass": [3.0, 100.0], "coupling": [1e-6, 2e-5]}
    result = scan(likelihood, axes, profiled=("sin2w",), store=tmp_path / "p.zarr", progress=False)
    assert list(result.parameter.values) == ["sin2w"]
    assert result.profiled.dims == ("parameter", "mass", "coupling")
    assert bool(result.valid.all())
    values = np.linspace(*(likelihood.parameters["sin2w"].lower, 1.2), 400)
    for i, mass in enumerate(axes["mass"]):
        for j, coupling in enumerate(axes["coupling"]):
            at = {"mass": mass, "coupling": coupling}
            found = {"sin2w": float(result.profiled[0, i, j]), **at}
            here = float(result.chi2[i, j])
            assert here == pytest.approx(float(profile(likelihood, found).chi2), abs=1e-8)
            line = scan(likelihood, {"sin2w": values}, at=at, progress=False)
            assert here <= float(line.chi2.min()) + 1e-8
    np.testing.assert_array_equal(open_scan(tmp_path / "p.zarr").profiled, result.profiled)


def test_a_profiled_flux_is_free(likelihoods) -> None:
    likelihood = likelihoods["xenonnt"]
    result = scan(likelihood, {"sin2w": [0.1, 0.4]}, profiled="flux", progress=False)
    assert list(result.parameter.values) == ["flux.b8"]
    for i, sin2w in enumerate((0.1, 0.4)):
        flux = float(result.profiled[0, i])
        fit = profile(likelihood, {"sin2w": sin2w, "flux": flux})
        assert float(result.chi2[i]) == pytest.approx(float(fit.chi2), abs=1e-8)
        for other in (0.9 * flux, 1.1 * flux):
            assert float(profile(likelihood, {"sin2w": sin2w, "flux": other}).chi2) > float(fit.chi2)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "at least one axis"),
        ({"mass": [], "coupling": [1e-5]}, "axis 'mass' has shape"),
        ({"mass": [[1.0, 2.0]], "coupling": [1e-5]}, "axis 'mass' has shape"),
        ({"mass": [1.0, np.nan], "coupling": [1e-5]}, "axis 'mass' holds values that are not finite"),
        ({"mass": [1.0], "coupling": [np.inf]}, "axis 'coupling' holds values that are not finite"),
        ({"mass": [1.0, 2.0, 1.0], "coupling": [1e-5]}, "axis 'mass' holds a value twice"),
        ({"mass": [1.0], "coupling": [1e-5, -1e-5]}, r"axis 'coupling' holds -1e-05, outside \[0, inf\]"),
        ({"mass": [-2.0], "coupling": [1e-5]}, r"axis 'mass' holds -2, outside \[0, inf\] MeV"),
        ({"maas": [1.0]}, "did you mean mass"),
        ({"flux": [1e6], "flux.b8": [2e6]}, "named twice"),
    ],
)
def test_bad_axes(axes, message, likelihoods) -> None:
    with pytest.raises(ValueError, match=message):
        scan(likelihoods["xenonnt"].under("scalar"), axes, progress=False)


def test_roles_that_exclude_each_other(likelihoods) -> None:
    likelihood = likelihoods["xenonnt"].under("scalar")
    with pytest.raises(ValueError, match="both varied and fixed"):
        scan(likelihood, {"mass": [1.0]}, at={"mass": 2.0}, progress=False)
    with pytest.raises(ValueError, match="is profiled, and varied or fixed"):
        scan(likelihood, {"mass": [1.0]}, profiled="mass", progress=False)
    with pytest.raises(ValueError, match="no constraint to keep"):
        scan(likelihood, {"mass": [1.0]}, constrained="mass", progress=False)


def test_an_axis_named_as_a_variable_is_refused(likelihoods) -> None:
    with pytest.raises(ValueError, match="axis 'valid' has the name of a variable"):
        scan(likelihoods["xenonnt"].under(users.Badly()), {"valid": [1.0]}, progress=False)


def test_more_points_than_fit_the_memory(likelihoods, monkeypatch) -> None:
    """A row in pieces gives the same numbers."""
    axes = {"sin2w": [0.2, 0.3], "flux": np.linspace(1e6, 9e6, 300)}
    whole = scan(likelihoods["xenonnt"], axes, progress=False)
    monkeypatch.setattr(engine, "_UNIT_POINTS", 70)
    pieces = scan(likelihoods["xenonnt"], axes, progress=False)
    np.testing.assert_allclose(pieces.chi2, whole.chi2, rtol=1e-12)


# Contours -----------------------------------------------------------------------------------------------------


def circle(size: int = 201) -> xarray.Dataset:
    """chi2 = 7 + 4 (ln^2 (m/10) + ln^2 (g/1e-4)), its minimum on a node."""
    m, g = 10 * np.exp(np.linspace(-2, 2, size)), 1e-4 * np.exp(np.linspace(-1.5, 1.5, size))
    chi2 = 7 + 4 * (np.log(m[:, None] / 10) ** 2 + np.log(g / 1e-4) ** 2)
    return xarray.Dataset({"chi2": (("mass", "coupling"), chi2)}, {"mass": m, "coupling": g})


def radius(line: np.ndarray) -> np.ndarray:
    return np.hypot(np.log(line[:, 1] / 10), np.log(line[:, 0] / 1e-4))


@pytest.mark.parametrize(("cl", "dof", "threshold"), [(0.9, 1, 2.7055), (0.9, 2, 4.6052), (0.5, 1, 0.4549)])
def test_contour_of_a_parabola_is_a_circle(cl, dof, threshold) -> None:
    found = contours(circle(), cl, dof)
    assert found.threshold == pytest.approx(threshold, abs=5e-5)
    assert found.chi2_min == pytest.approx(7)
    (line,) = found.lines
    np.testing.assert_array_equal(line[0], line[-1])
    np.testing.assert_allclose(radius(line), np.sqrt(found.threshold / 4), rtol=0, atol=5e-4)
    angle = np.unwrap(np.arctan2(np.log(line[:, 1] / 10), np.log(line[:, 0] / 1e-4)))
    assert abs(angle[-1] - angle[0]) == pytest.approx(2 * np.pi)


def test_contours_tolerate_holes() -> None:
    expected = contours(circle()).lines[0]
    away = circle()
    away.chi2[:5, :5] = np.nan
    np.testing.assert_array_equal(contours(away).lines[0], expected)
    cut = circle()
    cut.chi2[130:, 95:105] = np.nan
    found = contours(cut)
    assert found.lines
    for line in found.lines:
        assert np.all(np.isfinite(line))
        np.testing.assert_allclose(radius(line), np.sqrt(found.threshold / 4), rtol=0, atol=5e-4)
    assert sum(len(line) for line in found.lines) < len(expected)


def test_contours_on_linear_axes() -> None:
    x, y = np.linspace(-1, 1, 101), np.linspace(0, 4, 101)
    chi2 = 9 * x**2 + (y[:, None] - 2) ** 2
    found = contours(xarray.Dataset({"chi2": (("b", "a"), chi2)}, {"b": y, "a": x}))
    np.testing.assert_allclose(
        9 * found.lines[0][:, 0] ** 2 + (found.lines[0][:, 1] - 2) ** 2, found.threshold, atol=4e-3
    )


def test_contours_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="contours need a scan of two axes, this one has 1"):
        contours(circle().isel(mass=0))
    nothing = circle(5)
    nothing.chi2[:] = np.nan
    with pytest.raises(ValueError, match="no valid point"):
        contours(nothing)
    with pytest.raises(ValueError, match="confidence level"):
        contours(circle(5), 90.0)


def test_contours_sort_their_axes() -> None:
    expected, mixed = contours(circle(41)), circle(41)
    shuffled = mixed.isel(mass=np.random.default_rng(0).permutation(41), coupling=slice(None, None, -1))
    found = contours(shuffled)
    assert found.chi2_min == expected.chi2_min
    for line, other in zip(found.lines, expected.lines, strict=True):
        np.testing.assert_array_equal(line, other)
