"""A user's experiment from a TOML file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.detectors.charge_yield import (
    AbstractChargeYield,
    NestChargeYield,
    PowerLawChargeYield,
    TabulatedChargeYield,
)
from jcevns.detectors.response import Response, charge_response, interpolated_response
from jcevns.experiments.experiment import SIGNAL, Experiment, Nuisance
from jcevns.physics import flux as fluxes
from jcevns.physics.nuclei import xenon
from jcevns.spelling import unknown

__all__ = ["load_experiment"]

_KEYS = {
    "name", "observable", "bin_edges", "observed", "exposure_tonne_year", "shape", "notes",
    "response", "backgrounds", "nuisances", "correction",
}  # fmt: skip
_RESPONSE_KEYS = {"probabilities", "charge_yield", "gain_per_electron", "field_V_per_cm", "efficiency"}
_NUISANCE_KEYS = {"name", "sigma", "components", "shared", "bounds"}
_RESPONSES = "a [response] needs 'probabilities = FILE.csv' or 'charge_yield = nest | power-law | FILE.csv'"


def _only(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    extra = sorted(set(mapping) - known)
    if extra:
        raise ValueError(unknown(f"{where}: key", extra[0], sorted(known)))


def _positive(mapping: Mapping[str, Any], key: str, path: Path, default: float) -> float:
    value = float(_get(mapping, key, (int, float), path, default))
    if not 0 < value < np.inf:
        raise ValueError(f"{path}: key {key!r} is {value:g}, it must be positive")
    return value


def _get(mapping: Mapping[str, Any], key: str, kind: type | tuple[type, ...], path: Path, default: Any = ...) -> Any:
    if key not in mapping:
        if default is ...:
            raise ValueError(f"{path}: missing key {key!r}")
        return default
    value = mapping[key]
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"{path}: key {key!r} holds {value!r}, which has the wrong type")
    return value


def _numbers(mapping: Mapping[str, Any], key: str, path: Path, default: Any = ...) -> np.ndarray:
    values = _get(mapping, key, list, path, default)
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: key {key!r} must be a list of numbers") from None


def _charge_yield(text: str, section: Mapping[str, Any], path: Path) -> AbstractChargeYield:
    if text == "nest":
        return NestChargeYield(field=_positive(section, "field_V_per_cm", path, 88.0))
    if text == "power-law":
        return PowerLawChargeYield()
    if text.endswith(".csv"):
        table = datasets.read_csv(path.parent / text, ("recoil_keV", "electrons_per_keV"))
        return TabulatedChargeYield(table["recoil_keV"], table["electrons_per_keV"])
    raise ValueError(f"{path}: unknown charge_yield {text!r}: {_RESPONSES}")


def _response(section: Mapping[str, Any], edges: np.ndarray, bins: int, exposure: float, path: Path) -> Response:
    _only(section, _RESPONSE_KEYS, f"{path}: [response]")
    if "probabilities" in section:
        columns = [f"bin{i}" for i in range(bins)]
        file = path.parent / _get(section, "probabilities", str, path)
        table = datasets.read_csv(file, ("recoil_keV", *columns))
        return interpolated_response(table["recoil_keV"], np.stack([table[c] for c in columns]), exposure)
    if "charge_yield" not in section:
        raise ValueError(f"{path}: {_RESPONSES}")
    gain = _positive(section, "gain_per_electron", path, 1.0)
    efficiency = None
    if "efficiency" in section:
        table = datasets.read_csv(path.parent / _get(section, "efficiency", str, path), ("recoil_keV", "efficiency"))
        efficiency = (table["recoil_keV"], table["efficiency"])
    charge_yield = _charge_yield(_get(section, "charge_yield", str, path), section, path)
    if edges.size != bins + 1:
        raise ValueError(f"{path}: bin_edges must hold {bins + 1} numbers for {bins} observed counts")
    return charge_response(charge_yield, edges / gain, exposure, efficiency)


def _nuisance(entry: Any, path: Path) -> Nuisance:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: nuisances must be written as [[nuisances]] tables")
    name = _get(entry, "name", str, path)
    _only(entry, _NUISANCE_KEYS, f"{path}: nuisance {name!r}")
    components = _get(entry, "components", list, path, [SIGNAL])
    if not all(isinstance(c, str) for c in components):
        raise ValueError(f"{path}: nuisance {name!r}: components must be a list of names")
    shared = entry.get("shared", False)
    if not isinstance(shared, bool):
        raise ValueError(f"{path}: nuisance {name!r}: shared must be true or false, not {shared!r}")
    bounds = _numbers(entry, "bounds", path, [0.0, np.inf])
    if bounds.size != 2:
        raise ValueError(f"{path}: nuisance {name!r}: bounds must be two factors, lower and upper")
    sigma = float(_get(entry, "sigma", (int, float), path))
    return Nuisance(name, sigma, tuple(components), shared, (float(bounds[0]), float(bounds[1])))


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment on natural xenon and the solar 8B flux from a TOML file.

    Keys: `name`, `observed` (counts), `exposure_tonne_year`, and optionally `bin_edges`, `observable`, `shape`,
    `correction` (c_i), `notes`. A table `[response]` with `probabilities` (CSV: recoil_keV, bin0, bin1, ...) or
    `charge_yield` (`nest`, `power-law` or a CSV: recoil_keV, electrons_per_keV; with `gain_per_electron`,
    `field_V_per_cm`, `efficiency`). A table `[backgrounds]`, NAME = counts. An array `[[nuisances]]` with `name`,
    `sigma`, `components`, `shared` and `bounds` (of the factor). Files are found relative to the TOML file.

    Raises:
        ValueError: naming the file and the key, or the file, line and column of a CSV.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jcevns as jc
        >>> text = '''
        ... name = "mine"
        ... observed = [60, 42]
        ... bin_edges = [4, 6, 8]
        ... exposure_tonne_year = 1.0
        ...
        ... [response]
        ... charge_yield = "nest"
        ...
        ... [backgrounds]
        ... cathode = [30, 25]
        ... '''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mine.toml").write_text(text)
        ...     mine = jc.load_experiment(f"{folder}/mine.toml")
        >>> [round(n, 1) for n in jc.signal_counts(mine, jc.StandardModel()).tolist()]  # events per bin
        [98.9, 57.9]
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot read the experiment file: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a valid TOML file: {error}") from None
    _only(raw, _KEYS, str(path))

    observed = _numbers(raw, "observed", path)
    edges = _numbers(raw, "bin_edges", path, [])
    exposure = float(_get(raw, "exposure_tonne_year", (int, float), path))
    shape = _get(raw, "shape", str, path, "bahcall1996")
    backgrounds = _get(raw, "backgrounds", dict, path, {})
    try:
        return Experiment(
            name=_get(raw, "name", str, path),
            flux=fluxes.b8(shape),
            target=xenon(),
            response=_response(_get(raw, "response", dict, path), edges, observed.size, exposure, path),
            observed=observed,
            backgrounds={name: _numbers(backgrounds, name, path) for name in backgrounds},
            nuisances=[_nuisance(entry, path) for entry in _get(raw, "nuisances", list, path, [])],
            correction=_numbers(raw, "correction", path, [1.0] * observed.size),
            observable=_get(raw, "observable", str, path, "bin"),
            bin_edges=tuple(map(float, edges)),
            exposure=exposure,
            status="user",
            notes=(f"defined by the user in {path.name}", *_get(raw, "notes", list, path, [])),
        )
    except datasets.DataError:
        raise
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from None
