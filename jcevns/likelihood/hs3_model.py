"""A likelihood at one theory point as an HS3 workspace, the field's standard for whole likelihoods."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from jcevns.experiments.experiment import Experiment
from jcevns.likelihood.likelihood import Likelihood
from jcevns.likelihood.samples import POI, HistFactorySample, contents

__all__ = ["to_hs3"]

_VERSION = "0.2"  # of the standard
_NAME = "jcevns"  # of the likelihood and of the analysis
_DOMAIN, _POINT = "default_domain", "nominal"


def to_hs3(likelihood: Likelihood, at: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The likelihood as a workspace of HS3, equal to eq. 17 of arXiv:2411.11749 up to a constant.

    One `histfactory_dist` for each experiment, one sample for each background and source of signal. A normalisation
    is a `normfactor` of nominal 1 on each component that it acts on, with a Gaussian among the `aux_distributions`:
    factors multiply, as many as there are. A shape nuisance is a `histosys` with alpha = value/sigma and its own
    constraint; it may act beside factors. -2 ln L minus its value for the saturated model is chi2. Bounds are the
    domain, those of a factor that are infinite are numbers out of reach.

    Args:
        likelihood: the experiments and the theory.
        at: values of parameters by name; a nuisance among them stands still there, without its constraint. The
            parameters of the theory that are not named have their defaults.

    Raises:
        ValueError: what HistFactory cannot say: shapes that bend other than at nominal, or whose changes do not add
            up; widths that differ between components; a shared nuisance named `mu`.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> workspace = jc.to_hs3(likelihood)  # a dictionary for json.dump, or for pyhs3.Workspace
        >>> [modifier["name"] for modifier in workspace["distributions"][0]["samples"][0]["modifiers"]]
        ['flux.b8', 'xenonnt-2024-s2.fiducial_volume', 'mu']
    """
    likelihood, moving, every, limits = contents(likelihood, at, {})
    norms, records = likelihood.normalisations, likelihood.parameters
    channels = [
        {
            "name": one.name,
            "type": "histfactory_dist",
            "axes": _axes(one),
            "samples": [_written(s, records) for s in own],
        }
        for one, own in zip(likelihood.experiments, every, strict=True)
    ]
    data = [
        {
            "name": f"{one.name}.observed",
            "type": "binned",
            "axes": _axes(one),
            "contents": np.asarray(one.observed, float).tolist(),
        }
        for one in likelihood.experiments
    ]
    constraints = [
        {"name": f"{n}.constraint", "type": "gaussian_dist", "x": 1.0, "mean": n, "sigma": float(norms[n].sigma)}
        for n in moving
        if n in norms
    ]
    domain, point = [], []
    for name in (POI, *moving):
        if name in limits:
            (low, high), value = limits[name], 1.0
        else:
            low, high, value = (
                float(end / records[name].width) for end in (records[name].lower, records[name].upper, 0.0)
            )
        domain.append({"name": name, "min": float(low), "max": float(high)})
        point.append({"name": name, "value": value})
    names = {"distributions": [c["name"] for c in channels], "data": [d["name"] for d in data]}
    return {
        "metadata": {"hs3_version": _VERSION, "packages": [{"name": "jcevns", "version": version("jcevns")}]},
        "distributions": [*channels, *constraints],
        "data": data,
        "likelihoods": [{"name": _NAME, **names, "aux_distributions": [c["name"] for c in constraints]}],
        "domains": [{"name": _DOMAIN, "type": "product_domain", "axes": domain}],
        "parameter_points": [{"name": _POINT, "parameters": point}],
        "analyses": [
            {
                "name": _NAME,
                "likelihood": _NAME,
                "parameters_of_interest": [POI],
                "domains": [_DOMAIN],
                "init": _POINT,
            }
        ],
    }


def _axes(experiment: Experiment) -> list[dict[str, Any]]:
    """Bins by their number: the standard has no unit, and bins of several runs are no axis."""
    bins = len(experiment.observed)
    return [{"name": f"{experiment.name}.bin", "min": 0.0, "max": float(bins), "nbins": bins}]


def _written(sample: HistFactorySample, records: Mapping[str, Any]) -> dict[str, Any]:
    """A sample of the workspace."""
    where, nominal = f"{sample.where}: {sample.name}", sample.templates.nominal
    modifiers: list[dict[str, Any]] = []
    for name, full in sample.shapes().items():
        below, above = sample.templates.slopes(where, name)
        width = records[full].width
        both = {
            "hi": {"contents": (nominal + width * above).tolist()},
            "lo": {"contents": (nominal - width * below).tolist()},
            "interpolation": "code0",  # straight lines that bend at nominal alone
        }
        modifiers.append({"name": full, "type": "histosys", "parameter": full, "constraint": "Gauss", "data": both})
    sample.templates.check_positive(where)
    for name in (*sample.acting, *([POI] if sample.signal else [])):
        modifiers.append({"name": name, "type": "normfactor", "parameter": name})
    return {"name": sample.name, "data": {"contents": nominal.tolist()}, "modifiers": modifiers}
