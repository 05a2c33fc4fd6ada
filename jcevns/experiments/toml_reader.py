"""Reading of a TOML file key by key: what is wrong is said with the file and the key."""

import codecs
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.parameters import LARGEST
from jcevns.spelling import unknown

__all__ = ["TINY", "Section", "read_file"]

_KINDS = {str: "text in quotes", list: "a list", dict: "a table", bool: "true or false"}

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks, which Notepad and PowerShell write, to the encoding that reads them."""

TINY = 1e-30
"""Size of the smallest number but zero: what is below is a slip, and so is what is above `LARGEST`."""

_DEEPEST = 8  # lists inside lists: an axis of templates for each shape nuisance


def read_file(path: Path, known: Collection[str]) -> "Section":
    """The whole file as a section.

    Raises:
        ValueError: it cannot be read, is no TOML, or has an unknown key.
    """
    try:
        content = datasets.read_limited(path)
    except datasets.DataError:
        raise
    except (OSError, ValueError) as error:  # a ValueError: no path at all, as with a zero byte
        why = getattr(error, "strerror", None) or error
        shown = str(path) if str(path).isprintable() else repr(str(path))
        raise ValueError(f"{shown}: cannot read the experiment file: {why}") from None
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        raw = tomllib.loads(content.decode(encoding).replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a valid TOML file: it is not UTF-8 text ({error.reason})") from None
    except RecursionError:
        raise ValueError(f"{path}: not a valid TOML file: lists or tables are nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a valid TOML file: {error}") from None
    return Section(raw, path, "", known)


class Section:
    """A table of the file; an unknown key is refused at once.

    Args:
        values: the table.
        path: of the file.
        where: the table's place in the file, empty for the top.
        known: keys there may be.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, where: str, known: Collection[str]):
        self.values, self.path, self.where = values, path, where
        self.here = f"{path}: {where}" if where else str(path)
        for key in values:
            if key not in known:
                raise ValueError(
                    unknown(f"{self.here}: key", key, known, "choose from" if known else "there is none")
                )

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def error(self, message: str) -> ValueError:
        """An error about this table."""
        return ValueError(f"{self.here}: {message}")

    def without(self, keys: Iterable[str], why: str) -> None:
        """Refuse keys that have no meaning here."""
        for key in keys:
            if key in self.values:
                raise self.error(f"key {key!r} has no use here: {why}")

    def get(self, key: str, kind: type, default: Any = ...) -> Any:
        """A value of one type; required without a default."""
        if key not in self.values:
            if default is ...:
                raise self.error(f"missing key {key!r}")
            return default
        value = self.values[key]
        if not isinstance(value, kind):
            raise self.error(f"key {key!r} holds {_shown(value)}, it must be {_KINDS[kind]}")
        if isinstance(value, str):
            self._printable(key, value)
        return value

    def _printable(self, key: str, text: str) -> None:
        if not text.isprintable():
            raise self.error(f"key {key!r} holds {_shown(text)}: control characters have no place in it")

    def table(self, key: str, known: Collection[str]) -> "Section":
        """A table inside this one, empty if absent."""
        where = f"{self.where} {key}" if self.where else f"[{key}]"
        return Section(self.get(key, dict, {}), self.path, where, known)

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """Text that is one of some names."""
        value = self.get(key, str, default)
        if value not in choices:
            raise ValueError(unknown(f"{self.here}: {key}", value, choices))
        return value

    def names(self, key: str, default: Any = ...) -> tuple[str, ...]:
        """A list of words."""
        values = self.get(key, list, default)
        if not all(isinstance(v, str) for v in values):
            raise self.error(f"key {key!r} holds {_shown(values)}, it must be a list of texts in quotes")
        for value in values:
            self._printable(key, value)
        return tuple(values)

    def number(self, key: str, default: Any = ..., positive: bool = True) -> float:
        """A number of a size that can be computed with, by default above zero."""
        if key not in self.values:
            return self.get(key, float, default)
        value = self._size(key, self.values[key])
        if not math.isfinite(value) or (positive and value <= 0):
            raise self.error(f"key {key!r} is {value:g}, it must be {'positive' if positive else 'finite'}")
        return value

    def _size(self, key: str, value: Any) -> float:
        """A number; infinity and NaN are left to the caller."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"key {key!r} holds {_shown(value)}, it must be a number")
        if value and not TINY <= abs(value) <= LARGEST and math.isfinite(value if isinstance(value, float) else 1.0):
            shown = f"{value:g}" if isinstance(value, float) else _shown(value)
            raise self.error(f"key {key!r} is {shown}, its size must be between {TINY:g} and {LARGEST:g}")
        return float(value)

    def numbers(self, key: str, default: Any = ...) -> np.ndarray:
        """A list of numbers, or a list of such lists."""
        if key not in self.values:
            return np.asarray(self.get(key, list, default), float)
        values = self.get(key, list)
        try:
            return np.asarray(self._sizes(key, values, _DEEPEST), float)
        except (TypeError, ValueError) as error:
            if str(error).startswith(self.here):
                raise
            raise self.error(f"key {key!r} must be a list of numbers, or of lists of the same length") from None

    def _sizes(self, key: str, values: list[Any], depth: int) -> list[Any]:
        if depth == 0:
            raise self.error(f"key {key!r} holds lists nested more than {_DEEPEST} deep")
        return [self._sizes(key, v, depth - 1) if isinstance(v, list) else self._size(key, v) for v in values]

    def curve(self, key: str, columns: tuple[str, str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Two columns of the CSV file that a key names; None without the key."""
        if key not in self.values:
            return None
        energy, value = self.csv(self.get(key, str), columns)
        return energy, value

    def csv(self, file: str, columns: Iterable[str]) -> list[np.ndarray]:
        """Columns of a CSV file beside the TOML file."""
        wanted = tuple(columns)
        table = datasets.read_csv(self.path.parent / file, wanted)
        return [table[column] for column in wanted]


def _shown(value: Any) -> str:
    """A value as it is quoted in a message: not a page of it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number too long to print"
    return text if len(text) <= 60 else f"{text[:40]}..."
