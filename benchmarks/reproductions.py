"""Published numbers beside ours: `python -m benchmarks.reproductions [TEXT]` runs the commands, writes the results.

With a text, only rows that contain it are run, and new ones; the others keep what is written.
"""

import contextlib
import json
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

from benchmarks import machine

__all__ = ["RESULTS", "key", "measure", "rows"]

ROOT = Path(__file__).parents[1]
ROWS = Path(__file__).with_name("reproductions.toml")
RESULTS = Path(__file__).parent / "results" / "reproductions.json"


def rows() -> list[dict[str, Any]]:
    """All rows, as written."""
    return tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]


def key(row: dict[str, Any]) -> str:
    """Names a row in the results."""
    return f"{row['experiment']}: {row['quantity']}"


def measure(row: dict[str, Any]) -> list[float]:
    """Run the command of a row; its numbers in the row's unit."""
    from click.testing import CliRunner

    from jcevns.cli.app import cli

    with contextlib.chdir(ROOT):  # files are named from there
        result = CliRunner().invoke(cli, [*shlex.split(row["command"])[1:], "--json"], catch_exceptions=False)
    if result.exit_code:
        raise RuntimeError(f"{row['command']}: {result.output}")
    found: Any = json.loads(result.stdout)
    return [float(_at(found, path)) * row["scale"] for path in row["keys"]]


def _at(found: Any, path: str) -> Any:
    for step in path.split("."):
        found = found[int(step) if isinstance(found, list) else step]
    return found


def main() -> None:
    """Measure rows."""
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["results"] if RESULTS.is_file() else {}
    results = {}
    for row in rows():
        text = sys.argv[1] if len(sys.argv) > 1 else ""
        again = text in key(row) or key(row) not in old
        results[key(row)] = measure(row) if again else old[key(row)]
        print(f"{key(row)}: {row['published']} | {', '.join(f'{x:.4g}' for x in results[key(row)])}", flush=True)
    content = {"machine": machine.describe(), "results": results}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
