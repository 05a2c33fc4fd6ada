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

__all__ = ["HEAD", "RESULTS", "cells", "key", "left", "measure", "missing", "rows"]

ROOT = Path(__file__).parents[1]
ROWS = Path(__file__).with_name("reproductions.toml")
RESULTS = Path(__file__).parent / "results" / "reproductions.json"
HEAD = ["experiment", "quantity", "published", "ours", "ratio", "by construction", "command"]


def rows() -> list[dict[str, Any]]:
    """All rows, as written."""
    return tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]


def missing() -> dict[str, str]:
    """Experiments without a number that nobody chose, and why."""
    return {one["experiment"]: one["reason"] for one in tomllib.loads(ROWS.read_text(encoding="utf-8"))["missing"]}


def left() -> list[str]:
    """What the page says of experiments without a number."""
    return [f"No row that nobody chose: `{name}`, {reason}." for name, reason in missing().items()]


def cells() -> list[list[str]]:
    """Rows of the page, below `HEAD`."""
    ours = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
    found = []
    for row in rows():
        value, *ends = ours[key(row)]
        text = f"{value:.4g}"
        if ends:
            text += f" +{ends[1] - value:.2g} -{value - ends[0]:.2g}"
        source = row["source"].removeprefix("arXiv:")
        published = f"{row['published']} ([{source}](https://arxiv.org/abs/{source}))"
        ratio, command = f"{value / row['value']:.3f}", f"`{row['command']}`"
        found.append([f"`{row['experiment']}`", row["quantity"], published, text, ratio, row["tuned"], command])
    return found


def key(row: dict[str, Any]) -> str:
    """Names a row in the results."""
    return f"{row['experiment']}: {row['quantity']}"


def measure(row: dict[str, Any]) -> list[float]:
    """Run the command of a row; its numbers in the row's unit."""
    words = shlex.split(row["command"])
    with contextlib.chdir(ROOT):  # files are named from there
        found: Any = json.loads(_predicted(words[3:]) if words[0] == "python" else _fitted(words[1:]))
    return [float(_at(found, path)) * row["scale"] for path in row["keys"]]


def _predicted(words: list[str]) -> str:
    from benchmarks import predictions

    return predictions.main(words)


def _fitted(words: list[str]) -> str:
    from click.testing import CliRunner

    from jcevns.cli.app import cli

    result = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    if result.exit_code:
        raise RuntimeError(f"{shlex.join(words)}: {result.output}")
    return result.stdout


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
