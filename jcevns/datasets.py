"""Reading of the shipped tables, with their cards and checksums, and of users' CSV files."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import tomllib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "Card",
    "Column",
    "DataError",
    "card",
    "cards",
    "data_dir",
    "read_arrays",
    "read_csv",
    "read_limited",
    "read_numbers",
    "read_table",
]

REMEDY = "reinstall jcevns, or restore the file with git checkout -- data"
STATUSES = ("published", "computed", "transcribed", "digitised", "reconstructed")
LARGEST_FILE = 2**26  # bytes: above any table of an experiment, below what fills a memory
TEXT_UNIT = "text"  # unit of the columns that hold words


class DataError(ValueError):
    """A table or card is missing, damaged or malformed; the message says where and what to do.

    Example:
        >>> import jcevns as jc
        >>> jc.physics.load_spectrum("missing.csv")
        Traceback (most recent call last):
        jcevns.datasets.DataError: missing.csv: no such file
    """


@dataclass(frozen=True)
class Column:
    """One column or array of a table.

    Attributes:
        name: Name in the file.
        unit: Unit; "1" for a pure number, "text" for words.
        description: What it holds.
    """

    name: str
    unit: str
    description: str


@dataclass(frozen=True)
class Card:
    """Origin, status and checksum of one table.

    Attributes:
        name: Name that the read functions take.
        title: Short title.
        file: File name inside the data folder.
        status: one of `STATUSES`.
        description: Units and caveats.
        reference: Publication to cite.
        arxiv: arXiv number, or "".
        doi: DOI, or "".
        licence: Licence of the numbers.
        sha256: Checksum of the file.
        columns: Columns of the table, in file order.
    """

    name: str
    title: str
    file: str
    status: str
    description: str
    reference: str
    arxiv: str
    doi: str
    licence: str
    sha256: str
    columns: tuple[Column, ...]


# The key holds the checksum of what was read just now, so an entry can never be stale.
_PARSED: dict[tuple[Path, Card], dict[str, np.ndarray]] = {}


def data_dir() -> Path:
    """Finds the folder of the tables.

    Returns:
        The folder named by the environment variable JCEVNS_DATA if that is set, else the one of the
        installed package, else the one of the source tree.

    Raises:
        DataError: No such folder holds cards.
    """
    override = os.environ.get("JCEVNS_DATA")
    if override:
        folder = Path(override).expanduser().resolve()
        if not _has_cards(folder):
            raise DataError(
                f"JCEVNS_DATA: {folder} is not a folder with data cards (*.toml); "
                "unset the variable or point it to a copy of the data folder"
            )
        return folder
    here = Path(__file__).resolve().parent
    candidates = (here / "_data", here.parent / "data")
    for folder in candidates:
        if _has_cards(folder):
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"data folder not found (tried {tried}); {REMEDY}")


def cards() -> dict[str, Card]:
    """Reads all cards, sorted by name."""
    folder = data_dir()
    return {name: _load_card(folder / f"{name}.toml") for name in _known(folder)}


def card(name: str) -> Card:
    """Reads one card.

    Args:
        name: Name of the table, without suffix.

    Raises:
        DataError: There is no such card, or it is malformed.
    """
    folder = data_dir()
    known = _known(folder)
    if name not in known:
        from jcevns.spelling import unknown  # this file is also run by itself

        raise DataError(unknown(f"{folder}: table", name, known))
    return _load_card(folder / f"{name}.toml")


def read_table(name: str) -> dict[str, np.ndarray]:
    """Reads a shipped CSV table after checking its checksum.

    Args:
        name: Name of the card.

    Returns:
        Read-only arrays by column: float64, or strings where the card gives the unit "text".

    Raises:
        DataError: The card is unknown or broken, or the file is missing, damaged or not a CSV table.
    """
    info, path, content = _verified(name, ".csv", "read_arrays")
    key = (path, info)
    if key not in _PARSED:
        text = [column.name for column in info.columns if column.unit == TEXT_UNIT]
        _PARSED[key] = _parse_csv(path, content, [column.name for column in info.columns], text)
    return dict(_PARSED[key])


def read_numbers(name: str) -> dict[str, float]:
    """Values of a shipped table of named numbers, one a row in the columns quantity and value.

    Args:
        name: Name of the card.

    Raises:
        DataError: as `read_table`.
    """
    table = read_table(name)
    return dict(zip(map(str, table["quantity"]), map(float, table["value"]), strict=True))


def read_arrays(name: str) -> dict[str, np.ndarray]:
    """Reads a shipped NPZ file after checking its checksum.

    Args:
        name: Name of the card.

    Returns:
        Read-only arrays by key, with the types of the file.

    Raises:
        DataError: The card is unknown or broken, or the file is missing, damaged or not an NPZ file.
    """
    info, path, content = _verified(name, ".npz", "read_table")
    key = (path, info)
    if key not in _PARSED:
        _PARSED[key] = _parse_npz(path, content, [column.name for column in info.columns])
    return dict(_PARSED[key])


def read_limited(path: Path) -> bytes:
    """Reads a file of the user, of at most `LARGEST_FILE` bytes: a device is not read for ever.

    Raises:
        OSError: It cannot be read.
        DataError: It is larger.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise DataError(f"{path}: larger than {LARGEST_FILE >> 20} MiB, which no table of an experiment is")
    return content


def read_csv(
    path: str | os.PathLike[str], required: Sequence[str], text: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Reads a CSV file of the user.

    The first line is the header. Blank lines and lines that start with '#' are skipped, and columns that
    nobody asked for are ignored.

    Args:
        path: File to read, in UTF-8.
        required: Columns that must be there.
        text: Columns to keep as strings; one that is not also required may be absent.

    Returns:
        Read-only arrays by column name: float64, or strings for the columns in `text`.

    Raises:
        DataError: The file or a value cannot be used; the message gives file, line and column.
    """
    path = Path(path)
    try:
        content = read_limited(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _parse_csv(path, content, required, text)


def _has_cards(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.toml"))


def _known(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


def _load_card(path: Path) -> Card:
    """Reads and validates a card file."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: the card cannot be read ({error}); {REMEDY}") from error
    fields = {key: _string(path, raw, key) for key in Card.__dataclass_fields__ if key != "columns"}
    entries = raw.get("columns")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise DataError(f"{path}: the card has no [[columns]] entries; {REMEDY}")
    keys = tuple(Column.__dataclass_fields__)
    columns = tuple(Column(*(_string(path, entry, key) for key in keys)) for entry in entries)
    problems = {
        f"name is {fields['name']!r}, not {path.stem!r}": fields["name"] != path.stem,
        f"file {fields['file']!r} is not NAME.csv or NAME.npz": fields["file"]
        not in (f"{path.stem}.csv", f"{path.stem}.npz"),
        f"status {fields['status']!r} is none of {', '.join(STATUSES)}": fields["status"] not in STATUSES,
        f"sha256 {fields['sha256']!r} is not 64 hexadecimal digits": len(fields["sha256"]) != 64
        or bool(set(fields["sha256"]) - set("0123456789abcdef")),
        "a column is described twice": len({c.name for c in columns}) != len(columns),
    }
    found = [problem for problem, wrong in problems.items() if wrong]
    if found:
        raise DataError(f"{path}: broken card: {'; '.join(found)}; {REMEDY}")
    return Card(**fields, columns=columns)


def _string(path: Path, raw: Mapping[str, Any], key: str) -> str:
    """Returns a string entry of a card."""
    if key not in raw:
        raise DataError(f"{path}: the card lacks the entry {key!r}; {REMEDY}")
    if not isinstance(raw[key], str):
        raise DataError(f"{path}: the card entry {key!r} is not a string; {REMEDY}")
    return raw[key]


def _verified(name: str, suffix: str, other: str) -> tuple[Card, Path, bytes]:
    """Returns a card, its file and the content, once the checksum agrees."""
    info = card(name)
    path = data_dir() / info.file
    if path.suffix != suffix:
        raise DataError(f"{info.file} is not a {suffix[1:].upper()} file: use {other}({name!r})")
    content, found = b"", "missing"
    try:
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
    except FileNotFoundError:
        pass
    except OSError as error:
        found = f"unreadable ({error.strerror or error})"
    if found != info.sha256:
        raise DataError(f"{path}: wrong checksum: expected sha256 {info.sha256}, found {found}; {REMEDY}")
    return info, path, content


def _parse_npz(path: Path, content: bytes, required: Sequence[str]) -> dict[str, np.ndarray]:
    """Parses an NPZ file; pickled content is refused."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as pack:
            arrays: dict[str, np.ndarray] = {key: pack[key] for key in pack.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable NPZ file ({error}); {REMEDY}") from error
    lacking = [key for key in required if key not in arrays]
    if lacking:
        raise DataError(f"{path}: no array {', '.join(lacking)}; found {', '.join(arrays)}; {REMEDY}")
    return {key: _frozen(array) for key, array in arrays.items()}


def _parse_csv(path: Path, content: bytes, required: Sequence[str], text: Sequence[str]) -> dict[str, np.ndarray]:
    """Parses a CSV table with one header line."""
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text ({error.reason})") from error
    header: list[str] = []
    header_line = 0
    cells: dict[str, list[Any]] = {}
    for number, line in enumerate(io.StringIO(decoded, newline=None), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _split(path, number, line.rstrip("\n"))
        if not header:
            header, header_line = fields, number
            _check_header(path, number, header, required)
            cells = {name: [] for name in header if name in required or name in text}
            continue
        if len(fields) != len(header):
            where = header[len(fields)] if len(fields) < len(header) else str(len(header) + 1)
            fault = "the row ends before it" if len(fields) < len(header) else "not in the header"
            raise DataError(
                f"{path}, line {number}, column {where}: {fault} ({len(fields)} fields, the header has {len(header)})"
            )
        for name, field in zip(header, fields, strict=True):
            if name in cells:
                cells[name].append(field if name in text else _number(path, number, name, field))
            if name in cells and not field:
                raise DataError(f"{path}, line {number}, column {name}: empty")
    if not header:
        raise DataError(f"{path}: empty, a header with {', '.join(required)} is required")
    if not next(iter(cells.values()), ["nothing was asked for"]):
        raise DataError(f"{path}, line {header_line}: the table has a header but no rows")
    return {n: _frozen(np.array(v, dtype=str if n in text else np.float64)) for n, v in cells.items()}


def _split(path: Path, number: int, line: str) -> list[str]:
    """Splits one line; a quoted field cannot run over several lines."""
    try:
        (fields,) = csv.reader([line], strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise DataError(f"{path}, line {number}: malformed CSV ({error})") from error
    return [field.strip() for field in fields]


def _check_header(path: Path, number: int, header: Sequence[str], required: Sequence[str]) -> None:
    """Refuses a header with repeated or missing columns."""
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line {number}, column {twice[0]}: appears more than once in the header")
    lacking = [name for name in required if name not in header]
    if lacking:
        raise DataError(
            f"{path}, line {number}, column {', '.join(lacking)}: missing; "
            f"found {', '.join(header)}; required {', '.join(required)}"
        )


def _number(path: Path, number: int, name: str, field: str) -> float:
    """Converts one field to a finite float."""
    try:
        value = float(field.replace("_", "?"))  # Python would read 1_000 as a number
    except ValueError:
        value = None
    if value is None:
        raise DataError(f"{path}, line {number}, column {name}: {field!r} is not a number")
    if not math.isfinite(value):
        raise DataError(f"{path}, line {number}, column {name}: {field!r} is not finite")
    return value


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
