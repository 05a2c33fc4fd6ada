"""XENONnT's 8B likelihood in alea, XENONnT's own framework: fit, interval and their times, as one line of JSON.

`python benchmarks/alea_peer.py data/xenonnt_2024_templates.npz [--toys N] [--seed N]`, by the python of an
environment with `alea-inference`; neither jcevns nor jax is imported. Templates go to alea as HDF5 files and a YAML
model, which is how it takes them. Its unbinned likelihood of piecewise constant templates is the binned one but for a
constant; every event sits at its bin's centre. alea morphs number and shape of a source apart, blueice's default.

Seconds are of the wall clock, or of the processor (`cpu_`, less disturbed by other load), without building the model.
`_toys`: means over toys that alea throws at the best fit; there the wall clock includes setting the data.
`fits`: calls of alea's `fit`.
"""

import argparse
import contextlib
import json
import logging
import os
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import blueice.likelihood
import blueice.pdf_morphers
import numpy as np
import yaml
from inference_interface import dict_to_structured_array, multihist_to_template
from multihist import Histdd

if not hasattr(blueice.pdf_morphers, "MORPHERS"):  # alea 0.3.5 looks for it there, blueice 1.2.2 has moved it
    blueice.pdf_morphers.MORPHERS = blueice.likelihood.MORPHERS

from alea.models import BlueiceExtendedModel

_REFERENCE = 5.25  # 1e6 cm^-2 s^-1, the flux of the released templates
_POI = "b8_rate_multiplier"
_AXES = ("cs2_PE", "time_quantile", "s1_bdt", "s2_bdt")
_RATES = {"accidental_sr0": 0.0904, "accidental_sr1": 0.0576, "electronic": 1.0, "neutron": 0.58}
_SHAPES = ("t_ly", "t_qy")
_BOUNDS = [0.0, 6.0]  # where alea looks for the ends of the interval, in units of the reference flux


def _parameters(pack: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """alea's parameters; its livetimes are exposures here, since templates are per tonne-year."""
    rate = {"nominal_value": 1.0, "ptype": "rate", "fittable": True, "fit_limits": [0, None], "fit_guess": 1.0}
    defined: dict[str, dict[str, Any]] = {_POI: {**rate, "parameter_interval_bounds": _BOUNDS}}
    for run, exposure in zip(pack["run"], pack["exposure_tonne_year"], strict=True):
        defined[f"livetime_{run}"] = {"nominal_value": float(exposure), "ptype": "livetime", "fittable": False}
    for name, width in _RATES.items():
        defined[f"{name}_rate_multiplier"] = {**rate, "uncertainty": width, "relative_uncertainty": True}
    defined["signal_efficiency"] = {
        **{**rate, "ptype": "efficiency", "fit_limits": [0.5, 1.5]},
        **{"uncertainty": 0.25, "relative_uncertainty": True},
    }
    anchors = [int(t) for t in pack["t_yield"]]
    for name in _SHAPES:
        defined[name] = {
            **{"nominal_value": 0, "ptype": "shape", "fittable": True, "fit_guess": 0.0, "uncertainty": 1.0},
            **{"relative_uncertainty": False, "blueice_anchors": anchors, "fit_limits": [anchors[0], anchors[-1]]},
        }
    return defined


def _term(pack: dict[str, np.ndarray], run: int, folder: Path) -> dict[str, Any]:
    """One run of alea's likelihood, its templates written to the folder."""
    label, anchors = str(pack["run"][run]), [int(t) for t in pack["t_yield"]]
    edges = [pack[f"edges_{axis}"][run] for axis in _AXES]
    filename = f"{label}.h5"
    histograms = {f"accidental_{label}": pack["accidental"][run], "electronic": pack["electronic"][run]}
    for name, table in (("b8", pack["b8_at_5p25e6"][run]), ("neutron", pack["neutron"][run])):
        histograms |= {f"{name}_{a}_{b}": table[i, j] for i, a in enumerate(anchors) for j, b in enumerate(anchors)}
    shape = [len(edge) - 1 for edge in edges]
    stored = [
        Histdd.from_histogram(np.asarray(values, float).reshape(shape), edges, list(_AXES))
        for values in histograms.values()
    ]
    multihist_to_template(stored, str(folder / filename), list(histograms))
    sources = []
    for name in ("b8", f"accidental_{label}", "electronic", "neutron"):
        source = {"name": name, "histname": name, "template_filename": filename}
        source["parameters"] = [f"{name}_rate_multiplier"]
        if name in ("b8", "neutron"):
            source["histname"] = name + "".join(f"_{{{s}}}" for s in _SHAPES)
            source["parameters"] += _SHAPES
            source["named_parameters"] = list(_SHAPES)
        if name == "b8":
            source["parameters"].append("signal_efficiency")
            source["efficiency_name"] = "signal_efficiency"
        sources.append(source)
    return {
        "name": label,
        "default_source_class": "alea.template_source.TemplateSource",
        "likelihood_type": "blueice.likelihood.UnbinnedLogLikelihood",
        "analysis_space": [{axis: edge.tolist()} for axis, edge in zip(_AXES, edges, strict=True)],
        "in_events_per_bin": True,
        "livetime_parameter": f"livetime_{label}",
        "slice_args": {},
        "sources": sources,
    }


def _model(pack: dict[str, np.ndarray], folder: Path) -> BlueiceExtendedModel:
    """The model, from files alea reads back."""
    terms = [_term(pack, run, folder) for run in range(len(pack["run"]))]
    config = {
        "parameter_definition": _parameters(pack),
        "likelihood_config": {"template_folder": str(folder), "likelihood_terms": terms},
    }
    path = folder / "statistical_model.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    with contextlib.chdir(folder):  # blueice leaves its cache in the working directory
        return BlueiceExtendedModel.from_config(str(path), confidence_level=0.6827)


def _observed(model: BlueiceExtendedModel, pack: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Released counts as alea's data: an event for each, at its bin's centre, then the nominal pulls."""
    data = []
    for run, counts in enumerate(pack["observed"]):
        centres = [(edges[1:] + edges[:-1]) / 2 for edges in (pack[f"edges_{axis}"][run] for axis in _AXES)]
        mesh = np.stack([grid.ravel() for grid in np.meshgrid(*centres, indexing="ij")], axis=1)
        events = np.zeros(int(counts.sum()), dtype=[*((axis, float) for axis in _AXES), ("source", int)])
        for axis, column in zip(_AXES, np.repeat(mesh, counts, axis=0).T, strict=True):
            events[axis] = column
        data.append(events)
    return [*data, dict_to_structured_array(model.parameters.with_uncertainty.nominal_values)]


def _measure(model: BlueiceExtendedModel, data: Any) -> dict[str, float]:
    """Best fit, interval and seconds, each by alea's own method."""
    calls, fit = [0], model.fit

    def counted(*args: Any, **kwargs: Any) -> tuple[dict[str, float], float]:
        calls[0] += 1
        return fit(*args, **kwargs)

    start = time.perf_counter()
    model.data = data
    set_at, cpu_at = time.perf_counter(), time.process_time()
    best, top = model.fit()
    fitted_at = time.perf_counter()
    model.fit = counted
    low, high = model.confidence_interval(_POI, confidence_interval_kind="central")
    end, cpu_end = time.perf_counter(), time.process_time()
    del model.fit  # back to the method
    found = {"best": best[_POI], "top": top, "low": low, "high": high, "fits": 1 + calls[0]}
    seconds = {"set": set_at - start, "fit": fitted_at - set_at, "both": end - set_at, "cpu": cpu_end - cpu_at}
    return found | seconds


def run(path: Path, toys: int, seed: int) -> dict[str, Any]:
    """Results on the released counts, and the times on toys."""
    with np.load(path) as archive:
        pack = dict(archive)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = _model(pack, Path(folder))
        built = time.perf_counter() - start
    real = _measure(model, _observed(model, pack))
    best, top = model.fit()
    null = model.fit(**{_POI: 0.0})[1]
    np.random.seed(seed)  # noqa: NPY002  (alea draws from it)
    thrown = [_measure(model, model.generate_data(**best)) for _ in range(toys)]
    result = {
        "alea_version": version("alea-inference"),
        "best_fit_1e6": _REFERENCE * real["best"],
        "error_up_1e6": _REFERENCE * (real["high"] - real["best"]),
        "error_down_1e6": _REFERENCE * (real["best"] - real["low"]),
        "significance": float(np.sqrt(max(0.0, 2 * (top - null)))),
        "seconds_fit": real["fit"],
        "seconds_fit_and_interval": real["both"],
        "cpu_seconds_fit_and_interval": real["cpu"],
        "fits": real["fits"],
        "seconds_build": built,
        "toys": toys,
    }
    if toys:
        mean = {key: float(np.mean([toy[key] for toy in thrown])) for key in ("set", "fit", "both", "cpu", "fits")}
        result["seconds_fit_toys"] = mean["set"] + mean["fit"]
        result["seconds_fit_and_interval_toys"] = mean["set"] + mean["both"]
        result["cpu_seconds_fit_and_interval_toys"] = mean["cpu"]
        result["fits_toys"] = mean["fits"]
        result["open_intervals_toys"] = sum(not np.isfinite([toy["low"], toy["high"]]).all() for toy in thrown)
    return result | {f"{name}_version": version(name) for name in ("blueice", "iminuit", "numpy")}


def main() -> None:
    """Print the line; nothing else goes to standard output."""
    parser = argparse.ArgumentParser(prog="alea_peer.py")
    parser.add_argument("templates", type=Path, help="xenonnt_2024_templates.npz")
    parser.add_argument("--toys", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(json.dumps(run(options.templates, options.toys, options.seed)))


if __name__ == "__main__":
    main()
