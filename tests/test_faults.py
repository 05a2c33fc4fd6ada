"""Faults of the world: kills, full disks, damaged and foreign files, closed pipes, no home, forks, absurd sizes."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

import jcevns as jc
from jcevns import datasets
from jcevns.cli import app, stopping
from jcevns.files import write_bytes, write_csv, write_json, write_text
from jcevns.plot.style import figure, save
from jcevns.statistics import toy_runs
from jcevns.statistics.store import ScanStore
from jcevns.statistics.store_checks import StoreError, check_size

REMEDIES = (
    "choose another",
    "restore",
    "delete",
    "free some space",
    "JAX_COMPILATION_CACHE_DIR",
    "goes on from there",
)
FIT = ("fit", "flux", "--experiments", "texono-2010")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home whose compile cache the commands below share."""
    return tmp_path_factory.mktemp("home")


def environment(home: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")}
    return kept | {"HOME": str(home), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[1])} | changes


def start(home: Path, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jcevns", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(home, **changes), **pipes)


def run(home: Path, *arguments: str, **changes: str) -> tuple[int, str, str]:
    process = start(home, *arguments, **changes)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def shell(home: Path, command: str) -> tuple[int, str]:
    """Exit code and standard error of `jcevns` in a line of bash, which writes it as JCEVNS."""
    line = command.replace("JCEVNS", f"{sys.executable} -m jcevns")
    done = subprocess.run(["bash", "-c", line], env=environment(home), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def one_message(err: str) -> bool:
    """One line with a remedy, no traceback."""
    return err.count("\n") == 1 and err.startswith("jcevns: ") and any(remedy in err for remedy in REMEDIES)


# Files that appear whole or not at all.


class Full(io.FileIO):
    """A file on a disk that is full after three bytes."""

    def write(self, content):
        super().write(bytes(content)[:3])
        raise OSError(28, "No space left on device", self.name)


class Killed(io.FileIO):
    def write(self, content):
        super().write(bytes(content)[:3])
        raise KeyboardInterrupt


def draw(path: Path) -> None:
    fig, (ax,) = figure(width=2.0, height=2.0)
    ax.plot([0, 1])
    save(fig, path)


WRITERS = {
    "a.txt": lambda path: write_text(path, "new"),
    "a.json": lambda path: write_json(path, {"new": 1}),
    "a.csv": lambda path: write_csv(path, ["new"], [[1]]),
    "a.bin": lambda path: write_bytes(path, b"new"),
    "a.png": draw,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("fault", [Full, Killed])
def test_half_a_file_replaces_nothing(fault, name, tmp_path, monkeypatch) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode="r", *rest: fault(str(self), mode.replace("b", "")))
        with pytest.raises((OSError, KeyboardInterrupt)):
            WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    WRITERS[name](path)
    assert path.read_bytes() != b"old"


def test_writers_at_once_leave_one_whole_file(tmp_path) -> None:
    path, contents = tmp_path / "a", [bytes([i]) * 200_000 for i in range(4)]

    def write(content: bytes) -> None:
        for _ in range(20):
            write_bytes(path, content)

    write_bytes(path, contents[0])
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_links_devices_and_pipes_stay_what_they_are(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "target")
    write_text(link, "through")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "target").read_bytes() == b"through"
    write_text(Path("/dev/null"), "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_text(tmp_path / "pipe", "heard")
    reader.join(timeout=20)
    assert heard == [b"heard"]
    assert (tmp_path / "pipe").is_fifo()


def test_protection_of_a_file_is_kept(tmp_path, monkeypatch) -> None:
    path = write_text(tmp_path / "a", "old")
    path.chmod(0o640)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o440)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for anybody but root
    with pytest.raises(PermissionError, match="write-protected"):
        write_text(path, "newer")
    assert path.read_bytes() == b"new"


# Blocks of toys.


@pytest.fixture
def block(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=7) for name in toy_runs._FIELDS} | {"valid": np.ones(7, bool)}
    np.savez(tmp_path / "block.npz", **values)
    return tmp_path / "block.npz"


def test_damaged_blocks_are_not_there(block) -> None:
    content, whole = block.read_bytes(), toy_runs._stored(block, 7)
    assert whole is not None
    for place in range(0, len(content), 3):  # headers of both formats, data, checksums, directory
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]):
            block.write_bytes(damaged)
            found = toy_runs._stored(block, 7)
            assert found is None or all(found[n].tobytes() == whole[n].tobytes() for n in whole), place


@pytest.mark.parametrize("claim", ["shape", "itemsize", "objects"])
def test_blocks_that_claim_absurd_sizes_or_code_are_not_read(claim, block, monkeypatch) -> None:
    values = dict(np.load(block))
    if claim == "objects":
        values["best"] = np.array([{"code": 1}] * 7, dtype=object)
        np.savez(block, **values)
    else:
        kind, shape = ("|V999999999999", "(7,)") if claim == "itemsize" else ("<f8", "(999999999999,)")
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        import zipfile

        with zipfile.ZipFile(block, "w") as pack:
            for name in values:
                pack.writestr(
                    f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
                )
        monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    assert toy_runs._stored(block, 7) is None


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.5, 0.8, 1.2])
def test_stopped_while_it_starts(seconds, home) -> None:
    """Ctrl-C made C modules being imported fail or abort, or was lost in a callback: the command went on."""
    script = "import sys; from jcevns.cli import main; print('here', flush=True); main()"
    toys = ("toys", "significance", "--experiments", "xenonnt-2024-s2", "--toys", "1000000", "--json")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", script, *toys], env=environment(home), **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(0.05 + seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert one_message(err.lstrip("\n")), err


def test_signals_wait_for_imports_and_for_callbacks_that_lose_them(monkeypatch) -> None:
    armed = []
    monkeypatch.setattr(stopping.signal, "setitimer", lambda which, after: armed.append(after))

    class Lost:
        def __del__(self) -> None:
            stopping._stop(signal.SIGINT, sys._getframe())

    Lost()
    assert len(armed) == 1
    with pytest.raises(KeyboardInterrupt):
        stopping._stop(signal.SIGINT, sys._getframe())
    assert len(armed) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_again_and_again_and_resumed_to_the_same_numbers(home, tmp_path) -> None:
    """Toys: SIGKILL and SIGTERM (as Ctrl-C), each after another block, then two at once to the end."""
    command = ("toys", "significance", "--experiments", "xenonnt-2024-s2", "--toys", "4000", "--json")
    expected = run(home, *command)
    assert expected[0] == 0, expected
    store = tmp_path / "store"
    for count, by in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        process = start(home, *command, "--store", str(store))
        deadline = time.monotonic() + 60
        while len(list(store.glob("toys_*.npz"))) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(by)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (-by, 130), (by, err)
        assert process.returncode == -by or one_message(err.lstrip("\n")), err
    assert 2 <= len(list(store.glob("toys_*.npz"))) < 4
    both = [start(home, *command, "--store", str(store)) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == expected[:2], err
    assert len(list(store.iterdir())) - len(list(store.glob(".*.partial"))) == 4


@pytest.mark.parametrize("file", ["systematics-grid.csv", "systematics-grid.png"])
def test_cached_step_with_a_damaged_file_is_run_again(file, tmp_path, monkeypatch) -> None:
    from jcevns.paper import reproduce as module
    from jcevns.paper.run import file_rows
    from jcevns.paper.steps import STEPS

    calls = []

    def step(run) -> None:
        calls.append(1)
        file_rows(run, "systematics-grid", [{"dataset": "x", "value": 1.0}])
        draw(run.out / "systematics-grid")
        run.figures.append((run.out / "systematics-grid.png", "A figure."))

    monkeypatch.setitem(STEPS, "systematics-grid", dataclasses.replace(STEPS["systematics-grid"], run=step))
    monkeypatch.setattr(module.html, "render", lambda *_: "")
    for _ in range(2):
        module.reproduce(tmp_path, ["systematics-grid"])
    assert len(calls) == 1
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:-5])
    module.reproduce(tmp_path, ["systematics-grid"])
    assert len(calls) == 2
    assert (tmp_path / file).read_bytes() == content


# Stores of scans.

AXES = {"flux": [4e6, 5e6, 6e6]}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("small") / "scan.zarr"
    jc.scan("xenonnt-2024-s2", AXES, store=path, progress=False)
    return path


@pytest.fixture
def copy(small, tmp_path) -> Path:
    import shutil

    return shutil.copytree(small, tmp_path / "scan.zarr")


def refused(path: Path, match: str) -> None:
    for read in (jc.open_scan, lambda p: jc.scan("xenonnt-2024-s2", AXES, store=p, progress=False)):
        with pytest.raises(StoreError, match=match) as caught:
            read(path)
        assert any(remedy in str(caught.value) for remedy in (*REMEDIES, "fewer values"))


@pytest.mark.parametrize("name", ["chi2", "flux.b8", "pulls", "unit_done", "edm"])
@pytest.mark.parametrize("key", ["shape", "chunks"])
def test_absurd_sizes_of_a_store_are_refused_unread(key, name, copy, monkeypatch) -> None:
    metadata = json.loads((copy / "zarr.json").read_text(encoding="utf-8"))
    own = json.loads((copy / name / "zarr.json").read_text(encoding="utf-8"))
    for record in (own, metadata["consolidated_metadata"]["metadata"][name]):
        if key == "shape":
            record["shape"][-1] = 10**13
        else:
            record["chunk_grid"]["configuration"]["chunk_shape"][-1] = 10**13
    (copy / "zarr.json").write_text(json.dumps(metadata), encoding="utf-8")
    (copy / name / "zarr.json").write_text(json.dumps(own), encoding="utf-8")
    read = zarr.Array.__getitem__

    def small_alone(self, selection):
        assert max(self.size, np.prod(self.chunks, dtype=object)) < 1000, "read before it was checked"
        return read(self, selection)

    monkeypatch.setattr(zarr.Array, "__getitem__", small_alone)
    refused(copy, "damaged")


def test_files_of_absurd_size_links_and_devices_in_a_store(copy) -> None:
    chunk = copy / "chi2" / "c" / "0"
    content = chunk.read_bytes()
    os.truncate(chunk, 2**40)  # sparse: it takes no space
    refused(copy, "metadata are damaged")
    chunk.unlink()
    chunk.symlink_to("/dev/zero")
    refused(copy, "is a link or a device")
    chunk.unlink()
    chunk.write_bytes(content)
    os.truncate(copy / "zarr.json", 2**40)
    refused(copy, "metadata are too large")


def test_link_to_a_store_and_to_nothing(small, tmp_path) -> None:
    (tmp_path / "link.zarr").symlink_to(small)
    assert jc.open_scan(tmp_path / "link.zarr").equals(jc.open_scan(small))
    (tmp_path / "dangling.zarr").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "dangling.zarr", r"is a link to nothing|is not a scan")
    assert [p.name for p in tmp_path.iterdir() if not p.is_symlink()] == []


def test_unit_of_another_process_stays(copy) -> None:
    """The same shard twice: what is finished is not written again, whatever the second one has."""
    settings = jc.open_scan(copy).attrs["settings"]
    axes = {"flux.b8": np.array(AXES["flux"])}
    labels = {"pulls": tuple(map(str, jc.open_scan(copy).nuisance.values))}
    store = ScanStore(copy, axes, {}, 3, labels, settings)
    before = jc.open_scan(copy)
    other = {
        "chi2": np.zeros(3),
        "edm": np.zeros(3),
        "valid": np.zeros(3),
        "pulls": np.zeros((len(labels["pulls"]), 3)),
    }
    store.write(0, other)
    assert jc.open_scan(copy).equals(before)


def test_scan_that_fits_no_memory_is_refused_before_it_starts(tmp_path) -> None:
    axes = {"sin2w": np.linspace(0.1, 0.4, 10**6), "flux": np.linspace(1e6, 9e6, 10**6)}
    with pytest.raises(StoreError, match=r"1000000 x 1000000 points .* GiB, this machine has .*: take fewer values"):
        jc.scan("xenonnt-2024-s2", axes, store=tmp_path / "scan.zarr", progress=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="put a long axis last"):
        check_size("the scan's", (2_000_000, 2), 1, 1)


def test_full_disk_in_a_scan_is_resumed(small, tmp_path, monkeypatch) -> None:
    path, written = tmp_path / "scan.zarr", []
    write = zarr.Array.__setitem__

    def full(self, selection, value):
        written.append(self.name)
        if "unit_checksum" in self.name:
            raise OSError(28, "No space left on device")
        write(self, selection, value)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(OSError, match="No space left"):
            jc.scan("xenonnt-2024-s2", AXES, store=path, progress=False)
    assert len(written) > 3
    unfinished = jc.open_scan(path)  # chi2 is there, but nothing says that the rest is
    assert bool(unfinished.edm.isnull().all())
    assert bool(unfinished.chi2.isnull().all())
    assert not bool(unfinished.valid.any())
    assert jc.scan("xenonnt-2024-s2", AXES, store=path, progress=False).equals(jc.open_scan(small))


# Tables and TOML files.


@pytest.mark.parametrize("read", [lambda p: datasets.read_csv(p, ["a"]), jc.load_experiment])
def test_files_of_absurd_size_are_refused(read, tmp_path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2**40)
    for path in (tmp_path / "big", Path("/dev/zero")):
        with pytest.raises(ValueError, match="larger than 64 MiB"):
            read(path)


TOML = """
name = "mine"
flux = "solar"
target = "xenon-electrons"
exposure_tonne_year = 1.0
notes = ["angle \u03b8"]
observed = {observed}
bin_edges = [2, 4, 6]
[response]
resolution = {{sqrt = 0.31}}
[backgrounds]
radon = [4, 4]
"""


def test_few_lines_that_claim_much_are_refused(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    shapes = "".join(f'[[parameters]]\nname = "s{i}"\nkind = "shape"\nanchors = [-1, 0, 1]\n' for i in range(30))
    path.write_text(TOML.format(observed=[8, 11]) + shapes, encoding="utf-8")
    with pytest.raises(ValueError, match=r"more than 1000000 numbers: take fewer anchors"):
        jc.load_experiment(path)
    path.write_text(TOML.format(observed=[1] * 5000), encoding="utf-8")
    with pytest.raises(ValueError, match=r"there are 5000 bins, at most 4096"):
        jc.load_experiment(path)


# The command line where the world is not as it should be.


@pytest.mark.slow
def test_home_that_is_none_and_cache_that_is_damaged(tmp_path) -> None:
    home = tmp_path / "home"  # of this test alone: every program in it is of this command
    home.mkdir()
    code, out, err = run(home, *FIT)
    assert (code, err) == (0, "")
    programs = list((home / ".cache" / "jcevns" / "programs").iterdir())
    assert programs
    homeless = run(home, *FIT, HOME="/dev/null")
    assert homeless[:2] == (0, out)
    assert one_message(homeless[2]), homeless[2]
    contents = {program: program.read_bytes() for program in programs}
    for program, content in contents.items():
        program.write_bytes(content[: len(content) // 2])
    # Made again, without a word: nobody has to do anything.
    assert run(home, *FIT) == (0, out, "")
    assert all(program.stat().st_size > len(content) // 2 for program, content in contents.items())
    assert run(home, *FIT) == (0, out, "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("set -o pipefail; JCEVNS parameters --experiments texono-2010 | true", 1),
        ("JCEVNS data > /dev/full", 1),
        ("JCEVNS data >&-", 0),
        ("JCEVNS data 2>&-", 0),
        ("JCEVNS data nope 2>/dev/full", 2),
        ("JCEVNS data nope 2>&-", 2),
        ("JCEVNS data < /dev/null > /dev/null", 0),
    ],
)
def test_streams_that_are_closed_or_full(command, code, home) -> None:
    found, err = shell(home, command)
    assert found == code, err
    assert "Traceback" not in err
    assert "Exception" not in err
    assert not err or one_message(err), err


def test_optimised_and_in_a_locale_without_letters(home, tmp_path) -> None:
    """`python -O` leaves no check out; a note that the terminal cannot write is no error."""
    path = tmp_path / "mine.toml"
    path.write_text(TOML.format(observed=[8, 11]), encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    code, out, err = run(home, "fit", "flux", "--experiments", str(path), PYTHONOPTIMIZE="1", **plain)
    assert (code, err) == (0, "")
    assert r"angle \u03b8" in out
    code, _, err = run(home, "fit", "flux", "--experiments", str(tmp_path / "\u00e9.toml"), **plain)
    assert code == 2
    assert err.count("\n") == 1


def test_no_assert_no_pickle_no_network_no_evaluation_in_the_source() -> None:
    # But for compiled programs, code with a pickle around it, in a folder of the user's alone (security.md).
    forbidden = {"pickle", "marshal", "shelve", "socket", "urllib", "http", "requests", "subprocess", "ftplib"}
    for source in (Path(jc.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            where = f"{source}, line {getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Assert), where
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                allowed = {"pickle"} if source.name == "compiled.py" else set()
                assert not {name.split(".")[0] for name in names} & (forbidden - allowed), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), where
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", where


def test_out_of_memory_is_one_line(capsys) -> None:
    def allocate() -> None:
        raise MemoryError("Unable to allocate 8 TiB")

    assert app.guarded(allocate) == 1
    assert capsys.readouterr().err == "jcevns: Unable to allocate 8 TiB: ask for fewer points, toys or samples\n"


# Forks, the network, pickles.

FORKED = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")  # JAX's own on forks
import jax
jax.config.update("jax_enable_x64", True)
import jcevns as jc

likelihood = jc.Likelihood("texono-2010")

def work(what):
    try:
        return {
            "fit": lambda: jc.fit(likelihood, "flux", errors=False),
            "profile": lambda: jc.profile(likelihood),
            "theory": lambda: jc.theory("scalar", mass=10.0),
            "counts": lambda: jc.signal_counts(likelihood.experiments[0], jc.StandardModel()),
        }[what]()
    except RuntimeError as error:
        return str(error)

with multiprocessing.get_context("fork").Pool(1) as pool:
    for what in ("fit", "profile", "theory", "counts"):
        print(pool.apply_async(work, (what,)).get(timeout=60))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_worker_says_spawn(home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], env=environment(home), capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for line in lines:
        assert "forked" in line
        assert 'get_context("spawn")' in line


WATCHED = """
import sys, tempfile
sys.modules["dask"] = None  # xarray imports it where it is installed, and its import unpickles what it has pickled
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event in FORBIDDEN else None)
FORBIDDEN = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "pickle.find_class"}
import jax
jax.config.update("jax_enable_x64", True)
import jcevns as jc

with tempfile.TemporaryDirectory() as folder:
    print(jc.fit("texono-2010", "flux", errors=False).valid)
    for _ in range(2):
        jc.scan("texono-2010", {"flux": [5e12, 6e12]}, store=f"{folder}/a.zarr", progress=False)
        jc.throw("texono-2010", "flux", value=6e12, count=20, store=f"{folder}/toys")
print(seen)
"""


def test_no_network_and_no_pickle(home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=environment(home), capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_texts_of_others_are_no_formula_and_steer_no_terminal(tmp_path, capsys) -> None:
    cells = ["=1+1", "+1", "-1", "@a", "\ta", "plain"]
    text = write_csv(tmp_path / "a.csv", ["=header"], [[cell] for cell in cells]).read_text(encoding="utf-8")
    assert text.splitlines() == ["'=header", "'=1+1", "'+1", "'-1", "'@a", "'\ta", "plain"]

    def fail() -> None:
        raise ValueError("a\x1b[2Jb\nc")

    assert app.guarded(fail) == 2
    assert capsys.readouterr().err == "jcevns: a\\x1b[2Jb c\n"


def test_a_file_that_another_shard_renames_is_no_damage(tmp_path, monkeypatch):
    """A shard that ends reads the store while the other writes: what it lists under a passing name may be gone."""
    from jcevns.statistics import store_checks

    store = tmp_path / "scan.zarr"
    jc.scan(
        jc.Likelihood("xenonnt-2024-s2", "scalar"),
        {"mass": [1.0], "coupling": [0.0, 1e-6]},
        store=store,
        progress=False,
    )
    walk = os.walk

    def crowded(path):
        for folder, folders, names in walk(path):
            yield folder, folders, [*names, "0.passing.partial"]

    monkeypatch.setattr(store_checks.os, "walk", crowded)
    assert bool(jc.open_scan(store).valid.all())
