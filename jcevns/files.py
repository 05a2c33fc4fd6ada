"""Files that appear whole or not at all: every file the package writes, but for the chunks of a scan's store."""

import csv
import errno
import io
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["csv_text", "write_bytes", "write_csv", "write_json", "write_text"]


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: a killed process or a full disk leaves the old one.

    Of two processes that write at once, one file is left whole. A link is followed; a pipe or a device is written to.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    if path.is_dir() or not path.name:
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if path.exists() and not path.is_file():  # /dev/null must not become a file
        path.write_bytes(content)
        return path
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))
    there = target.exists()
    if there and not os.access(target, os.W_OK):  # which a rename would not ask
        raise PermissionError(errno.EACCES, "is write-protected", str(path))
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")  # of its own: others may write the same file now
    try:
        with partial.open("xb") as file:
            file.write(content)
        if there:
            shutil.copymode(target, partial)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all."""
    return write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> Path:
    """Write JSON; NaN is refused, an absent number is null."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else value


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A CSV with one header line; None is an empty cell, and no cell is a formula to a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    for row in rows:
        writer.writerow([_cell(v) for v in row])
    return buffer.getvalue()


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write `csv_text`, whole or not at all."""
    return write_text(path, csv_text(columns, rows))
