"""A user's experiment from a TOML file."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.experiments.toml_reader import Section, read_file
from jcevns.experiments.toml_response import read_response
from jcevns.physics.electrons import electrons_of, xenon_electrons
from jcevns.physics.flux import NeutrinoFlux, b8, hep
from jcevns.physics.nuclei import argon, cesium_iodide, xenon
from jcevns.physics.sources import reactor, solar, spallation

__all__ = ["load_experiment"]

_MOST_BINS = 4096  # a response has some ten columns for each of its rows
_MOST_TEMPLATES = 1_000_000  # numbers: a few lines of anchors multiply

_KEYS = (
    "name", "observable", "bin_edges", "observed", "exposure_tonne_year", "flux", "flux_options", "shape", "target",
    "target_options", "response", "backgrounds", "parameters", "nuisances", "morphing", "correction", "notes",
)  # fmt: skip

_Makers = Mapping[str, tuple[Callable[..., Any], Mapping[str, type]]]

_FLUXES: _Makers = {
    "b8": (b8, {"shape": str, "shift": float, "total": float}),
    "hep": (hep, {"total": float}),
    "solar": (solar, {"model": str, "sources": list}),
    "reactor": (reactor, {"total": float, "per_fission": float, "fractions": dict}),
    "sns": (spallation, {"protons": float, "per_proton": float, "distance_m": float}),
}
_TARGETS: _Makers = {
    "xenon": (xenon, {}),
    "argon": (argon, {}),
    "cesium-iodide": (cesium_iodide, {}),
    "xenon-electrons": (xenon_electrons, {"binding": str}),
    "electrons": (electrons_of, {"Z": float, "grams_per_mole": float}),
}
_PARAMETERS = {"normalisation": ("sigma", "components", "shared", "bounds"), "shape": ("anchors",)}
"""Kinds of parameters and the keys that belong to each."""


def _made(top: Section, key: str, makers: _Makers, default: str) -> Any:
    """A flux or a target from its name and its options."""
    make, kinds = makers[top.choice(key, makers, default)]
    section = top.table(f"{key}_options", tuple(kinds))
    signature = inspect.signature(make).parameters
    options: dict[str, Any] = {}
    for option, kind in kinds.items():
        if option not in section and signature[option].default is not inspect.Parameter.empty:
            continue
        if kind is float:
            options[option] = section.number(option, positive=option != "shift")
        elif kind is list:
            options[option] = section.names(option)
        elif kind is dict:
            isotopes = tuple(map(str, datasets.read_table("reactor_spectra")["isotope"]))
            shares = section.table(option, isotopes)
            options[option] = {isotope: shares.number(isotope) for isotope in isotopes}
        else:
            options[option] = section.get(option, kind)
    try:
        return make(**options)
    except ValueError as error:
        raise section.error(str(error)) from None


def _flux(top: Section) -> NeutrinoFlux:
    if "shape" in top:  # the old place of this option
        if top.get("flux", str, "b8") != "b8":
            raise top.error("key 'shape' has no use here: it belongs to the flux b8")
        options = top.get("flux_options", dict, {})
        if "shape" in options:
            raise top.error("key 'shape' is given twice, by itself and in [flux_options]")
        values = {**top.values, "flux_options": {"shape": top.get("shape", str), **options}}
        top = Section(values, top.path, "", _KEYS)
    return _made(top, "flux", _FLUXES, "b8")


def _entries(top: Section) -> list[Section]:
    """The entries of [[parameters]], by name."""
    if "parameters" in top and "nuisances" in top:
        raise top.error("[[nuisances]] is the old spelling of [[parameters]]: write all entries as [[parameters]]")
    key = "nuisances" if "nuisances" in top else "parameters"
    found = []
    for i, values in enumerate(top.get(key, list, [])):
        if not isinstance(values, dict):
            raise top.error(f"key {key!r} must be written as [[{key}]] tables")
        known = ("name", "kind", *(k for keys in _PARAMETERS.values() for k in keys))
        name = values.get("name")
        where = f"parameter {name!r}" if isinstance(name, str) else f"entry {i + 1} of [[{key}]]"
        entry = Section(values, top.path, where, known)
        entry.get("name", str)
        kind = entry.choice("kind", _PARAMETERS, "normalisation")
        other = [k for keys in _PARAMETERS.values() for k in keys if k not in _PARAMETERS[kind]]
        why = "a shape is in standard deviations of its anchors" if kind == "shape" else 'it goes with kind = "shape"'
        entry.without(other, why)
        found.append(entry)
    return found


def _of_flux(entry: Section, own: str) -> bool:
    """Whether an entry is about the normalisation of the file's flux; refused if it is about another flux."""
    name = entry.values["name"]
    which = name.removeprefix("flux.") if name.startswith("flux.") else name.removesuffix("_flux")
    if which == name or (which not in _FLUXES and not name.startswith("flux.")):
        return False
    if which != own:
        raise entry.error(f"the flux of this file is 'flux.{own}'")
    entry.without(["kind", "bounds", "anchors"], "the normalisation of a flux has an error alone, sigma")
    if entry.get("components", list, [SIGNAL]) != [SIGNAL] or not entry.get("shared", bool, True):
        raise entry.error("a flux acts on the signal alone, and is one for all experiments: give its sigma only")
    return True


def _nuisance(entry: Section) -> Nuisance:
    bounds = entry.numbers("bounds", [0.0, np.inf])
    if bounds.shape != (2,):
        raise entry.error(f"key 'bounds' has shape {bounds.shape}, it must be two factors, lower and upper")
    given, widths = entry.values.get("components"), ()
    if isinstance(given, dict):
        table, components = entry.table("components", tuple(given)), tuple(given)
        widths = tuple(table.number(name, positive=False) for name in components)
    else:
        components = entry.names("components", [SIGNAL])
    sigma = entry.number("sigma", max(map(abs, widths)) if widths else ...)
    low, high = map(float, bounds)
    return Nuisance(entry.values["name"], sigma, components, entry.get("shared", bool, False), (low, high), widths)


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment from a TOML file.

    Top: `name`, `observed` (counts), `exposure_tonne_year`; optionally `bin_edges`, `observable`, `notes`,
    `correction` (factors c_i on the signal), and

    * `flux`: `b8` (default), `hep`, `solar`, `reactor` or `sns`; `[flux_options]` has the arguments of
      `jcevns.physics.b8`, `hep`, `solar`, `reactor`, `spallation`. `shape` at the top is that of b8.
    * `target`: `xenon` (default), `argon`, `cesium-iodide`, `xenon-electrons` or `electrons`; `[target_options]` has
      `binding` of xenon's electrons, or `Z` and `grams_per_mole` of a material with free electrons.

    `[response]` is one of

    * `charge_yield`: `nest`, `power-law` or a CSV (recoil_keV, electrons_per_keV), with `bin_edges` in electrons,
      or in photoelectrons with `gain_per_electron`; `field_V_per_cm`; `efficiency`, a CSV (recoil_keV, efficiency).
    * `probabilities`: a CSV (recoil_keV, bin0, bin1, ...), or a list of them, one for each row of templates.
    * `resolution`: a CSV (energy_keV, sigma_keV), or coefficients, as `{sqrt = 0.31, linear = 0.0037}` for sigma in
      keV, of `constant`, `sqrt`, `linear`, `quadratic`, `cubic`; with `bin_edges` in keV. `efficiency`, a CSV
      (energy_keV, efficiency), is at the energy `efficiency_at`, `true` (default) or `reconstructed`; `quenching` is
      a number or a CSV (recoil_keV, quenching). See `jcevns.detectors.smeared_response`.

    `[backgrounds]`: NAME = counts; or a list of rows of counts, one for each anchor, if it depends on shapes.

    `[[parameters]]`: `name`, `sigma`, `components` (a list, by default the signal alone; or a table of widths in
    place of `sigma`, as `{signal = 0.05, cathode = -0.1}`, fully correlated), `shared` with other experiments,
    `bounds` of the factor. Or `kind = "shape"` with `anchors`, in standard deviations; `morphing` at the top, `grid`
    or `sum`, says how several combine. The name `flux.b8`, or that of another flux of the file, sets its relative
    error. `[[nuisances]]` and `b8_flux` are old spellings.

    Files are found relative to the TOML file.

    Raises:
        ValueError: naming the file and the key, or the file, line and column of a CSV.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jcevns as jc
        >>> text = '''
        ... name = "mine"
        ... flux = "solar"
        ... target = "xenon-electrons"
        ... observed = [8, 11]
        ... bin_edges = [2, 4, 6]  # keV
        ... exposure_tonne_year = 1.0
        ...
        ... [response]
        ... resolution = {sqrt = 0.31, linear = 0.0037}
        ...
        ... [backgrounds]
        ... radon = [4, 4]
        ...
        ... [[parameters]]
        ... name = "radon"
        ... sigma = 0.1
        ... components = ["radon"]
        ... '''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mine.toml").write_text(text)
        ...     mine = jc.load_experiment(f"{folder}/mine.toml")
        >>> [round(n, 1) for n in jc.signal_counts(mine, jc.StandardModel()).tolist()]  # events per bin
        [5.3, 5.7]
    """
    path = Path(path)
    top = read_file(path, _KEYS)
    try:
        return _built(top, path)
    except datasets.DataError:
        raise
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from None


def _moves(table: np.ndarray, k: int, shapes: Sequence[ShapeNuisance], morphing: str) -> bool:
    """Whether templates, anchors first, differ along the anchors of shape number k."""
    if morphing == "grid":
        return bool(np.any(np.ptp(table, axis=k) > 0))
    first = sum(len(shape.anchors) for shape in shapes[:k])
    return bool(np.any(np.ptp(table[first : first + len(shapes[k].anchors)], axis=0) > 0))


def _one_row(section: Section, key: str, default: Any = ()) -> tuple[float, ...]:
    """A list of numbers that is no table."""
    found = section.numbers(key, default if default is ... else list(default))
    if found.ndim != 1:
        raise section.error(f"key {key!r} must be a list of numbers, not of lists")
    return tuple(map(float, found))


def _built(top: Section, path: Path) -> Experiment:
    observed = top.numbers("observed")
    if observed.ndim != 1 or not observed.size:
        raise top.error("key 'observed' must be a list of counts, one for each bin")
    bins, exposure = observed.size, top.number("exposure_tonne_year")
    if bins > _MOST_BINS:
        raise top.error(f"key 'observed' holds {bins} counts, at most {_MOST_BINS} can be read from a file")
    flux, target = _flux(top), _made(top, "target", _TARGETS, "xenon")
    entries = _entries(top)
    about_flux = [entry for entry in entries if _of_flux(entry, flux.name)]
    if len(about_flux) > 1:
        raise about_flux[1].error("the flux has two entries")
    for entry in about_flux:
        flux = dataclasses.replace(flux, error=entry.number("sigma"))
    own = [entry for entry in entries if entry not in about_flux]
    shapes = [
        ShapeNuisance(entry.values["name"], _one_row(entry, "anchors", ...))
        for entry in own
        if entry.values.get("kind") == "shape"
    ]
    if not shapes:
        top.without(["morphing"], 'no parameter has kind = "shape"')
    morphing = top.choice("morphing", ("grid", "sum"), "grid")
    rows = tuple(len(shape.anchors) for shape in shapes)
    if morphing == "sum":
        rows = (sum(rows),) if rows else ()
    if math.prod(rows) * bins > _MOST_TEMPLATES:
        raise top.error(
            f"the anchors of the shapes make templates of more than {_MOST_TEMPLATES} numbers: "
            'take fewer anchors, or morphing = "sum"'
        )
    response = read_response(top, bins, exposure, target, rows)
    if "correction" in top:
        correction = top.numbers("correction")
        if correction.shape != (bins,) or not np.all(np.isfinite(correction) & (correction >= 0)):
            raise top.error(f"key 'correction' must hold {bins} factors, finite and not negative")
        if not np.any(correction):
            raise top.error("key 'correction' is zero in all bins: there would be no signal")
        response = response.times(correction)
    backgrounds = top.table("backgrounds", tuple(top.get("backgrounds", dict, {})))
    counts = {name: backgrounds.numbers(name) for name in backgrounds.values}
    tables = [np.asarray(response.matrix), *(c for c in counts.values() if c.shape[:-1] == rows and rows)]
    for k, shape in enumerate(shapes):
        if not any(_moves(table, k, shapes, morphing) for table in tables):
            raise top.error(
                f"shape {shape.name!r} changes no template: give rows of a background, or several files of "
                "probabilities, one for each anchor"
            )
    return Experiment(
        name=top.get("name", str),
        channels=Channel(flux, target, response),
        observed=observed,
        backgrounds=counts,
        nuisances=[_nuisance(entry) for entry in own if entry.values.get("kind") != "shape"],
        shapes=shapes,
        morphing=morphing,
        observable=top.get("observable", str, "bin"),
        bin_edges=_one_row(top, "bin_edges"),
        exposure=exposure,
        status="user",
        notes=(f"defined by the user in {path.name}", *top.names("notes", [])),
    )
