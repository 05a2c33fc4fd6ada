"""A user's experiment from a TOML file."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment, unfitted_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.experiments.toml_reader import Section, read_file
from jcevns.experiments.toml_response import read_response
from jcevns.physics.electrons import electrons_of, germanium_electrons, xenon_electrons
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.named_fluxes import FLUXES, check_distinct_fluxes
from jcevns.physics.nuclei import argon, cesium_iodide, germanium, xenon
from jcevns.physics.sources import SOLAR_COMPONENTS, spallation
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import unknown

__all__ = ["load_experiment"]

_MOST_BINS = 4096  # a response has some ten columns for each of its rows
_MOST_TEMPLATES = 1_000_000  # numbers: a few lines of anchors multiply

_KEYS = (
    "name", "observable", "bin_edges", "observed", "exposure_tonne_year", "flux", "flux_options", "shape", "target",
    "target_options", "response", "backgrounds", "parameters", "nuisances", "morphing", "correction", "notes",
)  # fmt: skip

_Makers = Mapping[str, tuple[Callable[..., Any], Mapping[str, type]]]

_FLUXES: _Makers = {
    "b8": (FLUXES["b8"], {"shape": str, "shift": float, "total": float}),
    "hep": (FLUXES["hep"], {"total": float}),
    **{name: (FLUXES[name], {"model": str}) for name in SOLAR_COMPONENTS},
    "solar": (FLUXES["solar"], {"model": str, "sources": list}),
    "reactor": (
        FLUXES["reactor"],
        {"total": float, "per_fission": float, "fractions": dict, "spectra": str, "captures": float, "error": float},
    ),
    "sns": (spallation, {"protons": float, "per_proton": float, "distance_m": float}),
}
_TARGETS: _Makers = {
    "xenon": (xenon, {}),
    "argon": (argon, {}),
    "germanium": (germanium, {}),
    "cesium-iodide": (cesium_iodide, {}),
    "xenon-electrons": (xenon_electrons, {"binding": str}),
    "germanium-electrons": (germanium_electrons, {}),
    "electrons": (electrons_of, {"Z": float, "grams_per_mole": float}),
}
_PARAMETERS = {"normalisation": ("sigma", "components", "shared", "bounds"), "shape": ("anchors",)}
"""Kinds of parameters and the keys that belong to each."""


def _made(top: Section, key: str, makers: _Makers, default: str) -> Any:
    """A flux or a target from its name and its options."""
    make, kinds = makers[top.choice(key, makers, default)]
    return _built_from(make, kinds, top.table(f"{key}_options", tuple(kinds)))


def _built_from(make: Callable[..., Any], kinds: Mapping[str, type], section: Section) -> Any:
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


def _fluxes(top: Section) -> tuple[NeutrinoFlux, ...]:
    """The flux of a file, or several, each with its options in a table of its name."""
    if not isinstance(top.values.get("flux"), list):
        return (_flux(top),)
    names = top.names("flux")
    if "shape" in top:
        raise top.error("key 'shape' is for one flux: write [flux_options.b8] with shape")
    if not names:
        raise top.error("key 'flux' is an empty list: name one or more, as b8")
    for name in names:
        if name not in _FLUXES:
            raise top.error(unknown("flux", name, _FLUXES))
    check_distinct_fluxes(list(names))
    options = top.table("flux_options", names)
    return tuple(
        _built_from(make, kinds, options.table(name, tuple(kinds)))
        for name, (make, kinds) in ((name, _FLUXES[name]) for name in names)
    )


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


def _of_flux(entry: Section, own: Sequence[str]) -> str:
    """Flux of the file whose normalisation an entry is about, empty for none; refused if it is about another flux."""
    name = entry.values["name"]
    which = name.removeprefix("flux.") if name.startswith("flux.") else name.removesuffix("_flux")
    if which == name or (which not in _FLUXES and not name.startswith("flux.")):
        return ""
    if which not in own:
        known = " and ".join(f"'flux.{name}'" for name in own)
        raise entry.error(f"the flux of this file is {known}")
    entry.without(["kind", "bounds", "anchors"], "the normalisation of a flux has an error alone, sigma")
    if entry.get("components", list, [SIGNAL]) != [SIGNAL] or not entry.get("shared", bool, True):
        raise entry.error("a flux acts on the signal alone, and is one for all experiments: give its sigma only")
    return which


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
    `correction` (factors c_i on the signal). Without `observed` the experiment is for projections: its counts are
    the expectation, `scaled` and `expected_limit` and the like take it, and what needs data refuses. Further

    * `flux`: `b8` (default), `hep`, `pp`, `pep`, `be7`, `cno`, `solar` (all below 2 MeV), `reactor` or `sns`;
      `[flux_options]` has the arguments of `jcevns.physics.b8`, `hep`, `solar_component`, `solar`, `reactor`,
      `spallation`. `shape` at the top is that of b8. Or a list, as `["b8", "hep"]`, each flux with its own parameter,
      and with its options in `[flux_options.NAME]`.
    * `target`: `xenon` (default), `argon`, `germanium`, `cesium-iodide`; `xenon-electrons`, `germanium-electrons` or
      `electrons`. `[target_options]` has `binding` of xenon's electrons, or `Z` and `grams_per_mole` of a material
      with free electrons.

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
    observed, bins = _observed(top)
    exposure = top.number("exposure_tonne_year")
    fluxes, target = {flux.name: flux for flux in _fluxes(top)}, _made(top, "target", _TARGETS, "xenon")
    own, seen = [], set()
    for entry in _entries(top):
        which = _of_flux(entry, tuple(fluxes))
        if not which:
            own.append(entry)
            continue
        if which in seen:
            raise entry.error("the flux has two entries")
        seen.add(which)
        fluxes[which] = dataclasses.replace(fluxes[which], error=entry.number("sigma"))
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
    channels = [Channel(flux, target, response) for flux in fluxes.values()]
    if len(channels) > 1:
        for channel in channels:
            if not np.any(np.asarray(unfitted_counts(StandardModel(), channel)) > 0):
                raise top.error(f"flux {channel.flux.name!r} makes no event in any bin: leave it out")
    measured = observed is not None
    built = Experiment(
        name=top.get("name", str),
        channels=channels,
        observed=np.zeros(bins) if observed is None else observed,
        measured=measured,
        backgrounds=counts,
        nuisances=[_nuisance(entry) for entry in own if entry.values.get("kind") != "shape"],
        shapes=shapes,
        morphing=morphing,
        observable=top.get("observable", str, "bin"),
        bin_edges=_one_row(top, "bin_edges"),
        exposure=exposure,
        status="user",
        notes=(
            f"defined by the user in {path.name}",
            *([] if measured else ["no observed counts: for projections"]),
            *top.names("notes", []),
        ),
    )
    return built if measured else dataclasses.replace(built, observed=_expectation(built))


def _observed(top: Section) -> tuple[np.ndarray | None, int]:
    """Counts, if there are any, and the number of bins."""
    if "observed" in top:
        observed = top.numbers("observed")
        if observed.ndim != 1 or not observed.size:
            raise top.error("key 'observed' must be a list of counts, one for each bin")
        bins = observed.size
    else:
        observed, bins = None, len(_one_row(top, "bin_edges")) - 1
        if bins < 1:
            raise top.error(
                "missing key 'observed'; without counts, for projections, 'bin_edges' say what the bins are"
            )
    if bins > _MOST_BINS:
        raise top.error(f"there are {bins} bins, at most {_MOST_BINS} can be read from a file")
    return observed, bins


def _expectation(experiment: Experiment) -> np.ndarray:
    """Standard Model counts with the templates in the middle, in place of data."""
    anchors = [shape.anchors.index(0.0) for shape in experiment.shapes]
    grid = experiment.morphing == "grid"
    middle = tuple(anchors) if grid else tuple(anchors[:1])
    parts = [np.asarray(unfitted_counts(StandardModel(), channel)) for channel in experiment.channels]
    parts += [np.asarray(counts) for counts in experiment.backgrounds.values()]
    return np.sum([part[middle] if part.ndim > 1 else part for part in parts], axis=0)
