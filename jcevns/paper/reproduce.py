"""`jcevns reproduce`: the paper's results as numbers, figures and one HTML report."""

import datetime
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jcevns import datasets
from jcevns.files import write_csv, write_json, write_text
from jcevns.paper import html, tables
from jcevns.paper.estimates import PULL
from jcevns.paper.run import Run
from jcevns.paper.steps import STEPS
from jcevns.precision import require_x64
from jcevns.spelling import unknown

__all__ = ["find_steps", "reproduce", "versions"]

_PACKAGES = ("jcevns", "jax", "jaxlib", "equinox", "numpy", "scipy", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of the packages that shape a result, and the machine."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def find_steps(only: Sequence[str] = (), full: bool = False) -> list[str]:
    """Names of the steps to run.

    Args:
        only: names to run, all if empty; a long step named here runs without `full`.
        full: include the long steps.

    Raises:
        ValueError: unknown name.
    """
    wrong = [name for name in only if name not in STEPS]
    if wrong:
        raise ValueError(unknown("step", wrong[0], STEPS))
    return [name for name, step in STEPS.items() if (name in only if only else full or not step.long)]


def _fingerprint(name: str) -> str:
    """Changes when the code's version, a package or a data table does: then a cached result is stale."""
    inputs: dict[str, Any] = {"step": name, "versions": versions()}
    inputs["data"] = {card.name: card.sha256 for card in datasets.cards().values()}
    package = Path(__file__).parents[1]
    sources = sorted(package.rglob("*.py"))
    inputs["code"] = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _checksums(run: Run, name: str, figures: Sequence[tuple[Path, str]]) -> dict[str, str]:
    """SHA-256 of the files of a long step, by name."""
    paths = [run.out / f"{name}.csv", *(f for path, _ in figures for f in (path, path.with_suffix(".pdf")))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for path in paths}


def _run_step(name: str, run: Run, cache: Path) -> bool:
    """Run a step, or take a long one from the cache; whether it was cached."""
    step = STEPS[name]
    if not step.long:
        step.run(run)
        return False
    stored = cache / f"{name}.json"
    fingerprint = _fingerprint(name)
    try:
        content = json.loads(stored.read_text(encoding="utf-8"))
        figures = [(run.out / file, caption) for file, caption in content["figures"]]
        if content["fingerprint"] == fingerprint and content["files"] == _checksums(run, name, figures):
            run.results[name] = content["result"]
            run.figures += figures
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: compute it again
    before = len(run.figures)
    step.run(run)
    cache.mkdir(exist_ok=True)
    made = run.figures[before:]
    content = {"fingerprint": fingerprint, "result": run.results[name], "files": _checksums(run, name, made)}
    write_json(stored, content | {"figures": [(path.name, caption) for path, caption in made]})
    return False


def reproduce(
    out: str | Path = "reproduced",
    only: Sequence[str] = (),
    full: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Reproduce the results of arXiv:2411.11749.

    Args:
        out: folder for summary.json, report.html, figures (PNG, PDF) and tables (CSV); made if missing.
        only: names of steps (keys of `STEPS`); all but the long ones if empty.
        full: add the long steps; their results are kept in `out`/.cache until code or data change.
        progress: called with one line per step.

    Returns:
        The content of summary.json.

    Raises:
        ValueError: unknown step.
        RuntimeError: in single precision.
        OSError: the folder cannot be written.
    """
    require_x64("jcevns reproduce")
    names = find_steps(only, full)
    started = time.perf_counter()
    run = Run(Path(out))
    run.out.mkdir(parents=True, exist_ok=True)
    seconds, figures = {}, []
    for i, name in enumerate(names, 1):
        before = time.perf_counter()
        progress(f"[{i}/{len(names)}] {STEPS[name].title} ...")
        made = len(run.figures)
        cached = _run_step(name, run, run.out / ".cache")
        figures += [(name, *figure) for figure in run.figures[made:]]
        seconds[name] = round(time.perf_counter() - before, 2)
        progress(f"[{i}/{len(names)}] {STEPS[name].title}: {'cached' if cached else f'{seconds[name]:.1f} s'}")

    by_pull = {pull: {k[:2]: e for k, e in run.estimates.items() if k[2] is pull} for pull in (False, True)}
    rows = [row for pull in (False, True) for row in tables.compare(by_pull[pull])]
    main = [row for row in rows if row.flux_pull == PULL[row.quantity]]
    summary = {
        "paper": "arXiv:2411.11749",
        "comparison": [tables.comparison_json(row) for row in main],
        "comparison_other_flux_pull": [tables.comparison_json(row) for row in rows if row not in main],
        "results": run.results,
        "experiments": {
            name: {"status": e.status, "notes": list(e.notes), "tables": list(e.tables)}
            for name, e in run.experiments.items()
        },
        "data": {
            card.name: {"status": card.status, "sha256": card.sha256, "source": card.reference}
            for card in datasets.cards().values()
        },
        "versions": versions(),
        "devices": [str(d) for d in jax.devices()],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": seconds | {"total": round(time.perf_counter() - started, 2)},
    }
    if main:
        columns = ["equation", "quantity", "dataset", "flux_pull", "paper", "paper_up", "paper_down"]
        columns += ["ours", "ours_up", "ours_down", "verdict", "caveat"]
        content = [
            [r.equation, r.quantity, r.dataset, r.flux_pull, *r.paper, *r.ours, r.verdict, r.caveat] for r in rows
        ]
        write_csv(run.out / "comparison.csv", columns, content)
    write_text(run.out / "report.html", html.render(summary, figures))
    write_json(run.out / "summary.json", summary)
    return summary
