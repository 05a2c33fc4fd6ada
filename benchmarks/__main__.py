"""Run the benchmarks, print a table, merge into benchmarks/results/latest.json.

`python -m benchmarks [GROUP ...]`, all groups by default;
engine alone, on the default device, where the other fitters are not installed.
"""

import argparse
import json
import operator
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from benchmarks import foundation, machine  # noqa: E402

GROUPS = ("foundation", "scan", "official", "posterior", "complementary")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


def _run(group: str) -> tuple[dict[str, Any], dict[str, tuple[str, float]]]:
    """Results and targets of a group; imported only now, its peers may be missing."""
    if group == "foundation":
        return foundation.run(), {key: ("<=", value) for key, value in foundation.TARGETS.items()}
    from benchmarks import official, scan

    if group == "complementary":
        from benchmarks import complementary

        return complementary.run(), complementary.TARGETS
    if group == "posterior":
        from benchmarks import posterior

        return posterior.run(), posterior.TARGETS
    if group == "official":
        return official.run(), official.TARGETS
    if group == "scan":
        return scan.run(), scan.TARGETS
    from benchmarks import engine

    return engine.run(engine.combined()), scan.TARGETS


def _show(results: dict[str, Any], targets: dict[str, tuple[str, float]]) -> None:
    for key, value in results.items():
        verdict = ""
        if key in targets:
            sign, target = targets[key]
            outcome = "unknown" if value is None else "met" if _COMPARE[sign](value, target) else "MISSED"
            verdict = f"   target {sign} {target:g}: {outcome}"
        shown = f"{'-':>12}" if value is None else f"{value:12.5g}"
        print(f"{key:38} {shown}{verdict}")


def _remember(history: Path, where: dict[str, Any], group: str, results: dict[str, Any], keys: Iterable[str]) -> None:
    """Append what has a target to the history, one line a run: ratios, so that machines may be compared."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip() or None
    found = {key: results[key] for key in keys if results.get(key) is not None}
    line = {"date": where["date"], "commit": commit, "cpu": where["cpu"], "cores": where["cores"], "group": group}
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line | found) + "\n")


def main() -> None:
    """Run the groups that were asked for; the results of the others stay as they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("groups", nargs="*", help=f"{' '.join(GROUPS)}; all if none is given")
    parser.add_argument("--only-engine", action="store_true", help="only the scan engine, stored as group `engine`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "latest.json")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {sorted(unknown)[0]!r}: choose from {', '.join(GROUPS)}")
    where = machine.describe()
    print(f"{where['cpu']}, {where['cores']} cores, {', '.join(where['devices'])}, {where['date']}")
    stored = json.loads(options.out.read_text()) if options.out.exists() else {}
    for group in ["engine"] if options.only_engine else options.groups or GROUPS:
        results, targets = _run(group)
        _show(results, targets)
        if options.only_engine:
            results = {"machine": where, **results}  # of another machine, perhaps, than the groups beside it
        else:
            stored["machine"] = where
        stored[group] = {"date": where["date"], **results}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(stored, indent=2) + "\n")
        _remember(options.out.with_name("history.jsonl"), where, group, results, targets)
    print(f"written to {options.out}")


main()
