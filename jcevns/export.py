"""Results as dictionaries, JSON, CSV and data frames: one mechanism for all of them."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jcevns.files import csv_text, write_text

__all__ = ["Exported", "Results", "cell", "plain"]


def plain(content: Any) -> Any:
    """Content as JSON has it: dictionaries, lists, text, numbers; None for a number that is not finite.

    Raises:
        TypeError: something that is none of these.
    """
    if isinstance(content, Exported):
        return plain(content.to_dict())
    if isinstance(content, Mapping):
        return {f"{key:g}" if isinstance(key, float) else str(key): plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if content is None or isinstance(content, bool | str):
        return content
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, int):
        return content
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    raise TypeError(f"a result holds {type(content).__name__}, which JSON has not")


class Exported:
    """A result that can be written in every format.

    A dataclass has its fields in `to_dict`, and one row; a result of several rows has its own `rows`.

    Example:
        >>> import jcevns as jc
        >>> limit = jc.interval("xenonnt-2024-s2", "sin2w")
        >>> print(limit.to_csv().splitlines()[0])
        name,unit,cl,threshold,best_fit,chi2_min,lower,upper,segments,valid,problems
    """

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, lists and text; None for what is open, unknown or not finite."""
        fields: Any = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        return {field.name: plain(getattr(self, field.name)) for field in fields if field.repr}

    def rows(self) -> list[dict[str, Any]]:
        """What a table holds, one dictionary for each row; cells are numbers, text or None."""
        return [{key: cell(value) for key, value in self.to_dict().items()}]

    def to_json(self) -> str:
        """As JSON; a number that is not finite is null."""
        return json.dumps(plain(self.to_dict()), indent=2, allow_nan=False)

    def to_csv(self, path: str | Path | None = None) -> str:
        """As CSV, one line for each row; also written to a file if a path is given.

        Text that a spreadsheet would take for a formula gets an apostrophe in front.

        Raises:
            OSError: the file cannot be written.
        """
        rows = self.rows()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = csv_text(columns, [[cell(row.get(key)) for key in columns] for row in rows])
        if path is not None:
            write_text(Path(path), text)
        return text

    def to_dataframe(self) -> Any:
        """As a pandas data frame, with the rows and columns of the CSV.

        Raises:
            ImportError: pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "to_dataframe needs pandas: pip install pandas; to_csv and to_dict do without"
            ) from None
        return pandas.DataFrame(self.rows())


def cell(value: Any) -> Any:
    """One cell of a table: numbers and text as they are, lists and dictionaries as text, no number as None."""
    value = plain(value)
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    if isinstance(value, dict):
        return "; ".join(f"{k}={_text(v)}" for k, v in value.items())
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return "none" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


_Row = TypeVar("_Row", bound=Exported)


class Results(list[_Row], Exported):
    """A list of results of one kind, with their rows in one table.

    Example:
        >>> import jcevns as jc
        >>> found = jc.limits(jc.Likelihood("xenonnt-2024-s2", "scalar"), "coupling", over={"mass": [1.0, 10.0]})
        >>> len(found), len(found.to_csv().splitlines())
        (2, 3)
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def to_dict(self) -> dict[str, Any]:
        """The results under `results`."""
        return {"results": [one.to_dict() for one in self]}

    def rows(self) -> list[dict[str, Any]]:
        """Those of all results."""
        return [row for one in self for row in one.rows()]
