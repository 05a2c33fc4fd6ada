"""Text, JSON and CSV files that appear whole or not at all."""

import csv
import errno
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_csv", "write_json", "write_text"]


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all: a killed process or a full disk leaves the old one."""
    if path.is_dir() or not path.name:
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write JSON; NaN is refused, an absent number is null."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else value


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a CSV with one header line; None is an empty cell, and no cell is a formula to a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    for row in rows:
        writer.writerow([_cell(v) for v in row])
    return write_text(path, buffer.getvalue())
