"""Contours and limits as a HEPData submission: submission.yaml and tables of independent and dependent variables."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jcevns.files import write_text
from jcevns.fit.contour import Contour
from jcevns.likelihood.likelihood import Likelihood
from jcevns.statistics.limits import Limit
from jcevns.statistics.upper import BANDS

__all__ = ["to_hepdata"]

_NONE = "-"  # how HEPData writes that there is no value
_BARE = re.compile(r"[A-Za-z_][\w]*")


def to_hepdata(
    results: Contour | Sequence[Limit] | Mapping[str, Any],
    folder: str | Path,
    parameters_of: Likelihood | None = None,
    description: str = "",
) -> list[Path]:
    """Write contours and limits as a HEPData submission, by the schema 1.1.1 of https://hepdata-submission.readthedocs.io.

    A contour is a table for each level, with the points of its lines in order, and one of the best fit. Limits are a
    table of the excluded ranges, one row each, `-` where an end is open; with expected limits one of the upper limits
    with their bands too.

    Args:
        results: a contour; limits of `jcevns.limits`; or several of these by name, for one submission.
        folder: for the files; made if it is not there.
        parameters_of: the likelihood of limits, for their units and experiments.
        description: of what was measured, for the first document of the submission.

    Returns:
        The files, `submission.yaml` last: it is written when all others are.

    Raises:
        ValueError: no result, or one that is not valid.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> limits = jc.limits(jc.Likelihood("xenonnt-2024-s2", "scalar"), "coupling", over={"mass": [1.0, 10.0]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in jc.to_hepdata(limits, folder)]
        ['limit.yaml', 'submission.yaml']
    """
    named = results if isinstance(results, Mapping) else {"": results}
    tables: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for name, result in named.items():
        made = _contour(result) if isinstance(result, Contour) else _limits(result, parameters_of)
        for key, table in made.items():
            tables["_".join(filter(None, [_file(name), key]))] = table
    if not tables:
        raise ValueError("hepdata: there is no result to write")
    who = f" of {', '.join(parameters_of.names)}" if parameters_of is not None else ""
    documents: list[dict[str, Any]] = [{"comment": description or f"Results{who}, written by jcevns"}]
    for key, (title, text, _) in tables.items():
        documents.append(
            {
                "name": title,
                "description": text,
                "keywords": [{"name": "phrases", "values": ["coherent elastic neutrino-nucleus scattering"]}],
                "data_file": f"{key}.yaml",
            }
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [write_text(folder / f"{key}.yaml", _yaml(table)) for key, (_, _, table) in tables.items()]
    text = "---\n" + "\n---\n".join(_yaml(document).rstrip("\n") for document in documents) + "\n"
    return [*written, write_text(folder / "submission.yaml", text)]


def _file(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower()


def _header(name: str, unit: str) -> dict[str, str]:
    return {"name": name, "units": unit} if unit else {"name": name}


def _number(value: float | None) -> Any:
    return _NONE if value is None or not math.isfinite(value) else float(f"{value:.8g}")


def _column(
    name: str, unit: str, values: Sequence[Any], qualifiers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    column: dict[str, Any] = {"header": _header(name, unit)}
    if qualifiers:
        column["qualifiers"] = [{"name": key, "value": value} for key, value in qualifiers.items()]
    return column | {"values": [v if isinstance(v, dict) else {"value": v} for v in values]}


def _table(independent: list[dict[str, Any]], dependent: list[dict[str, Any]]) -> dict[str, Any]:
    return {"independent_variables": independent, "dependent_variables": dependent}


def _contour(region: Contour) -> dict[str, tuple[str, str, dict[str, Any]]]:
    if not region.valid:
        raise ValueError(f"hepdata: {region} is not valid and not written: {'; '.join(region.problems)}")
    (first, second), units = region.names, region.units
    found = {}
    for cl, threshold in zip(region.cl, region.thresholds, strict=True):
        points = [(row["line"], row[first], row[second]) for row in region.rows() if row["cl"] == cl]
        closed = ", ".join(
            "closed" if c else "open at a bound or the end of what was searched" for c in region.closed[cl]
        )
        qualifiers = {"CL": cl, "Delta chi2": _number(threshold), "parameters of interest": region.dof}
        table = _table(
            [
                _column("line", "", [i for i, _, _ in points]),
                _column(first, units[0], [_number(a) for _, a, _ in points]),
            ],
            [_column(second, units[1], [_number(b) for _, _, b in points], qualifiers)],
        )
        level = f"{100 * cl:g}"
        head = f"Contour of {first} and {second} at {level}% CL, Delta chi2 = {threshold:.4g}"
        text = f"{head}; lines: {closed or 'none'}"
        key = f"contour_{_file(level)}"
        found[key] = (f"Contour of {first} and {second}, {level}% CL", text, table)
    best = _table(
        [_column("parameter", "", [first, second])],
        [_column("best fit", "", [_number(v) for v in region.best_fit], {"chi2": _number(region.chi2_min)})],
    )
    unit = ", ".join(f"{name} in {unit}" for name, unit in zip(region.names, units, strict=True) if unit)
    text = f"Values at the lowest chi2{f'; {unit}' if unit else ''}"
    return found | {"best_fit": (f"Best fit of {first} and {second}", text, best)}


def _limits(found: Any, likelihood: Likelihood | None) -> dict[str, tuple[str, str, dict[str, Any]]]:
    limits = [found] if isinstance(found, Limit) else list(found) if isinstance(found, list | tuple) else []
    if not limits or not all(isinstance(limit, Limit) for limit in limits):
        raise ValueError(f"hepdata: a {type(found).__name__} is neither a contour nor limits of jcevns.limits")
    for limit in limits:
        if not limit.valid:
            raise ValueError(
                f"hepdata: the limit on {limit.name} at {dict(limit.at)} is not valid and not written: "
                f"{'; '.join(limit.problems)}"
            )
    if len({(limit.name, tuple(limit.at), limit.method) for limit in limits}) > 1:
        raise ValueError("hepdata: limits of several parameters or methods: give each its name, {name: limits}")
    name, places, method = limits[0].name, tuple(limits[0].at), limits[0].method

    def unit(parameter: str) -> str:
        return likelihood.parameters[parameter].unit if likelihood is not None else ""

    def place(rows: Sequence[Limit]) -> list[dict[str, Any]]:
        if not places:
            return [_column("parameter", "", [name for _ in rows])]
        return [_column(other, unit(other), [_number(row.at[other]) for row in rows]) for other in places]

    rows = [(limit, low, high) for limit in limits for low, high in (limit.excluded or ((None, None),))]
    qualifiers = {"method": method, "Delta chi2": _number(limits[0].threshold)}
    ends = [
        _column(f"{name} excluded from", unit(name), [_number(low) for _, low, _ in rows], qualifiers),
        _column(f"{name} excluded to", unit(name), [_number(high) for _, _, high in rows], qualifiers),
    ]
    text = f"Excluded ranges of {name}, {method}; '{_NONE}': open as far as was searched, or nothing excluded"
    tables = {"limit": (f"Limits on {name}", text, _table(place([row[0] for row in rows]), ends))}
    if all(limit.expected for limit in limits):
        upper = _column(
            f"upper limit on {name}, observed", unit(name), [_number(x.upper) for x in limits], qualifiers
        )
        middle = _column(
            f"upper limit on {name}, expected median", unit(name), [_band(x.expected) for x in limits], qualifiers
        )
        text = (
            f"Upper limits on {name}, {method}, with the limits expected without signal and their 1 and 2 sigma bands"
        )
        tables["expected"] = (f"Upper limits on {name}", text, _table(place(limits), [upper, middle]))
    return tables


def _band(expected: Sequence[float]) -> dict[str, Any]:
    """The median with bands as errors; those that are infinite are left out."""
    at = dict(zip(BANDS, expected, strict=True))
    if not math.isfinite(at[0]):
        return {"value": _NONE}
    errors = [
        {"asymerror": {"minus": _number(at[-k] - at[0]), "plus": _number(at[k] - at[0])}, "label": f"{k} sigma"}
        for k in (1, 2)
        if math.isfinite(at[k])
    ]
    return {"value": _number(at[0]), **({"errors": errors} if errors else {})}


def _yaml(value: Any, indent: str = "") -> str:
    """Dictionaries and lists as YAML, a leaf of either on one line."""
    if isinstance(value, dict) and any(isinstance(v, list) for v in value.values()):
        lines = []
        for key, item in value.items():
            if isinstance(item, list):
                lines += [f"{indent}{key}:", *(_item(entry, indent) for entry in item)]
            else:
                lines.append(f"{indent}{key}: {_flow(item)}")
        return "\n".join(lines) + ("\n" if not indent else "")
    if isinstance(value, dict):
        return "\n".join(f"{indent}{key}: {_flow(item)}" for key, item in value.items()) + (
            "\n" if not indent else ""
        )
    return indent + _flow(value)


def _item(entry: Any, indent: str) -> str:
    nested = isinstance(entry, dict) and any(isinstance(v, list) and len(str(v)) > 80 for v in entry.values())
    if not nested:
        return f"{indent}- {_flow(entry)}"
    return f"{indent}- " + _yaml(entry, indent + "  ").lstrip()


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{k if _BARE.fullmatch(k) else json.dumps(k)}: {_flow(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        # YAML 1.1 takes 1e-07 for a word: a number has a point.
        text = repr(value)
        mantissa, letter, exponent = text.partition("e")
        return f"{mantissa}.0{letter}{exponent}" if letter and "." not in mantissa else text
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
