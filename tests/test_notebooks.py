"""The notebooks are true: they run in a fresh kernel without a warning and print what is committed."""

import copy
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 1_000_000  # bytes
LONGEST = 400.0  # times `import jax` in a fresh process (0.4 s on the machine where the longest takes 95 s)
TOLERANCE = 2e-2  # relative, of printed numbers
TIMING = "timing"  # tag of the cells whose output is a time or depends on the machine

NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.S | re.M)
MACHINE = re.compile(r"/(?:home|root|Users|tmp|work|mnt|var)/|site-packages|[A-Z]:\\\\")


def _read(path):
    return nbformat.read(path, as_version=4)


def _code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _printed(cell):
    """Text of a cell's outputs, without addresses in memory."""
    texts = [
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    ]
    return re.sub(r" at 0x[0-9a-f]+", "", "".join(text.rstrip("\n") + "\n" for text in texts))


def _problems(cell):
    """Errors and warnings among a cell's outputs."""
    return [
        output.get("text") or f"{output.ename}: {output.evalue}"
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def _differences(committed, new):
    """What is not the same: words are compared as they are, numbers to `TOLERANCE`, white space not at all."""
    words = [NUMBER.sub("#", text).split() for text in (committed, new)]
    if words[0] != words[1]:
        return [f"committed:\n{committed}\nnew:\n{new}"]
    pairs = zip(NUMBER.findall(committed), NUMBER.findall(new), strict=True)
    return [
        f"{a} committed, {b} new"
        for a, b in pairs
        if not math.isclose(float(a), float(b), rel_tol=TOLERANCE, abs_tol=1e-9)
    ]


def _solution(notebook):
    """Code of the exercise's solution, and what it is said to print."""
    details = re.search(r"<details>(.*?)</details>", notebook.cells[-1].source, flags=re.S)
    blocks = FENCE.findall(details.group(1)) if details else []
    return tuple("".join(body for language, body in blocks if language == kind) for kind in ("python", "text"))


def _seconds_of_import():
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import jax"], check=True)
    return time.monotonic() - begin


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_committed_as_executed(path):
    notebook = _read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size <= LARGEST
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.display_name == "Python 3"
    code = _code(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert not _problems(cell), cell.source
        assert "execution" not in cell.metadata, "time stamps"
        if re.search(r"\bprint\(", cell.source):
            assert any(o.get("name") == "stdout" for o in cell.outputs), cell.source
        if "plt.show()" in cell.source:
            assert any("image/png" in o.get("data", {}) for o in cell.outputs), cell.source


def test_no_trace_of_a_machine(path):
    for cell in _read(path).cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), *(str(v) for kind, v in data.items() if not kind.startswith("image/"))]
        for text in texts:
            assert not MACHINE.search(text), text


def test_frame_for_the_reader(path):
    cells = _read(path).cells
    opening = "\n".join(cell.source for cell in cells[:2] if cell.cell_type == "markdown")
    assert opening.startswith("# ")
    assert "What you will be able to do" in opening
    prose = "\n".join(FENCE.sub("", cell.source) for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ +(.*?) *$", prose, flags=re.M)
    assert headings[-1] == "Exercise"
    assert cells[-1].cell_type == "markdown"
    for link in re.findall(r"\]\(([^)#]+)\)", prose):
        assert link.startswith("https://") or (path.parent / link).exists(), link
    solution, _ = _solution(_read(path))
    assert solution, "the exercise has no solution in a <details> block"


@pytest.mark.slow
def test_runs_and_prints_what_is_committed(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    monkeypatch.delenv("JCEVNS_DATA", raising=False)
    (tmp_path / "here").mkdir()
    committed = _read(path)
    solution, answer = _solution(committed)
    new = copy.deepcopy(committed)
    size = len(new.cells)
    new.cells.append(nbformat.v4.new_code_cell(solution, id="solution"))
    finished = []
    unit = _seconds_of_import()
    begin = time.monotonic()
    NotebookClient(
        new,
        timeout=1200,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path / "here")}},
        on_cell_start=lambda cell, cell_index: finished.append(time.monotonic()) if cell_index == size else None,
    ).execute()
    seconds, unit = finished[0] - begin, max(unit, _seconds_of_import())

    for before, after in zip(_code(committed), _code(new), strict=False):
        where = f"{path.name}, cell {before.id}:\n{before.source}\n"
        assert not _problems(after), where
        images = [sum("image/png" in o.get("data", {}) for o in cell.outputs) for cell in (before, after)]
        assert images[0] == images[1], where
        if TIMING not in before.metadata.get("tags", []):
            differences = _differences(_printed(before), _printed(after))
            assert not differences, where + "\n".join(differences)
    assert not _problems(new.cells[-1])
    if answer:
        differences = _differences(answer, _printed(new.cells[-1]))
        assert not differences, "\n".join(["solution of the exercise:", *differences])
    assert seconds < LONGEST * unit


@pytest.mark.parametrize(
    ("committed", "new", "same"),
    [
        ("flux = 5.70 +3.19", "flux =  5.71 +3.18\n", True),
        ("flux = 5.70 +3.19", "flux = 5.70 +3.39", False),
        ("flux = 5.70 +3.19", "flux = 5.70 -3.19", False),
        ("flux = 5.70", "sin2w = 5.70", False),
        ("[1.e-05 2.0e+03]", "[1.01e-05\n 2.01e+03]", True),
        ("[1.e-05 2.0e+03]", "[1.e-06 2.0e+03]", False),
        ("valid: True", "valid: False", False),
        ("None to 3", "1 to 3", False),
    ],
)
def test_comparison_sees_changes(committed, new, same):
    assert (not _differences(committed, new)) == same
