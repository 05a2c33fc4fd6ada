"""The response of a user's experiment, from the table `[response]` of its TOML file."""

from typing import Any

import numpy as np

from jcevns.detectors.charge_yield import (
    AbstractChargeYield,
    NestChargeYield,
    PowerLawChargeYield,
    TabulatedChargeYield,
)
from jcevns.detectors.response import Response, charge_response, interpolated_response
from jcevns.detectors.smearing import POWERS, smeared_response
from jcevns.experiments.toml_reader import Section
from jcevns.physics.electrons import ElectronTarget
from jcevns.physics.recoil import AnyTarget
from jcevns.spelling import unknown

__all__ = ["read_response"]

_RESPONSES = {
    "charge_yield": ("gain_per_electron", "field_V_per_cm", "efficiency"),
    "probabilities": (),
    "resolution": ("efficiency", "efficiency_at", "quenching"),
}
"""What a response is given by, and the keys that belong to it."""


def _charge_yield(section: Section, target: str) -> AbstractChargeYield:
    text = section.get("charge_yield", str)
    if text.endswith(".csv"):
        section.without(["field_V_per_cm"], 'it belongs to charge_yield = "nest"')
        return TabulatedChargeYield(*section.csv(text, ("recoil_keV", "electrons_per_keV")))
    if text not in ("nest", "power-law"):
        known = ("nest", "power-law")
        raise ValueError(unknown(f"{section.here}: charge_yield", text, known, "give a FILE.csv, or one of"))
    if target != "xenon":
        raise section.error(f"charge_yield {text!r} is of nuclear recoils in xenon, the target is {target!r}")
    if text == "nest":
        return NestChargeYield(field=section.number("field_V_per_cm", 88.0))
    section.without(["field_V_per_cm"], 'it belongs to charge_yield = "nest"')
    return PowerLawChargeYield()


def _resolution(section: Section) -> Any:
    if isinstance(section.values["resolution"], str):
        return section.curve("resolution", ("energy_keV", "sigma_keV"))
    coefficients = section.table("resolution", POWERS)
    return {name: coefficients.number(name, positive=False) for name in coefficients.values}


def _smeared(section: Section, edges: np.ndarray, exposure: float, target: AnyTarget) -> Response:
    quenching: Any
    if isinstance(section.values.get("quenching"), str):
        quenching = section.curve("quenching", ("recoil_keV", "quenching"))
    else:
        quenching = section.number("quenching", 1.0)
    efficiency = section.curve("efficiency", ("energy_keV", "efficiency"))
    if efficiency is None and "efficiency_at" in section:
        raise section.error("key 'efficiency_at' has no use without 'efficiency'")
    return smeared_response(
        edges,
        exposure,
        _resolution(section),
        efficiency,
        section.choice("efficiency_at", ("true", "reconstructed"), "true"),
        quenching,
        breaks=np.asarray(target.binding_keV) if isinstance(target, ElectronTarget) else (),
    )


def _probabilities(section: Section, bins: int, exposure: float, rows: tuple[int, ...]) -> Response:
    """One table, or one for each row of the templates."""
    given, columns = section.values["probabilities"], ("recoil_keV", *(f"bin{i}" for i in range(bins)))
    files = section.names("probabilities") if isinstance(given, list) else (section.get("probabilities", str),)
    if isinstance(given, list) and len(files) != np.prod(rows):
        wanted = f"one for each of {np.prod(rows):g} rows of templates"
        raise section.error(f"key 'probabilities' has {len(files)} files, expected {wanted}")
    tables = [section.csv(file, columns) for file in files]
    for file, (energy, *_) in zip(files, tables, strict=True):
        if not np.array_equal(energy, tables[0][0]):
            raise section.error(f"{file} and {files[0]} must have the same recoil_keV")
    found = [interpolated_response(energy, np.stack(values), exposure) for energy, *values in tables]
    if len(found) == 1:
        return found[0]
    matrix = np.stack([np.asarray(r.matrix) for r in found])
    return Response(found[0].recoil_keV, matrix.reshape(*rows, *matrix.shape[1:]))


def read_response(top: Section, bins: int, exposure: float, target: AnyTarget, rows: tuple[int, ...]) -> Response:
    """The response of a file.

    Args:
        top: the whole file.
        bins: number of counts.
        exposure: tonne-year.
        target: what neutrinos scatter off.
        rows: anchors of the templates, the leading axes of the response.
    """
    top.get("response", dict)
    every = dict.fromkeys([*_RESPONSES, *(key for keys in _RESPONSES.values() for key in keys)])
    section = top.table("response", tuple(every))
    given = [key for key in _RESPONSES if key in section]
    if len(given) != 1:
        had = f"not {' and '.join(given)}" if given else "it has none"
        raise section.error(f"give one of charge_yield, probabilities, resolution; {had}")
    section.without(
        [k for k in every if k not in (*given, *_RESPONSES[given[0]])], f"it does not go with {given[0]!r}"
    )
    edges = top.numbers("bin_edges", [])
    if given != ["probabilities"] and edges.shape != (bins + 1,):
        raise top.error(f"key 'bin_edges' must hold {bins + 1} numbers for {bins} observed counts, not {edges.size}")
    if not np.all(np.isfinite(edges)):
        raise top.error("key 'bin_edges' must hold finite numbers")
    if given == ["probabilities"]:
        response = _probabilities(section, bins, exposure, rows)
    elif given == ["resolution"]:
        response = _smeared(section, edges, exposure, target)
    else:
        efficiency = section.curve("efficiency", ("recoil_keV", "efficiency"))
        charge_yield = _charge_yield(section, top.get("target", str, "xenon"))
        response = charge_response(
            charge_yield, edges / section.number("gain_per_electron", 1.0), exposure, efficiency
        )
    matrix = np.asarray(response.matrix)
    if not np.any(matrix > 0):
        raise section.error("no recoil is counted in any bin: check efficiency, yields and edges")
    if matrix.ndim == 2 and rows:
        response = Response(response.recoil_keV, np.broadcast_to(matrix, (*rows, *matrix.shape)))
    return response
