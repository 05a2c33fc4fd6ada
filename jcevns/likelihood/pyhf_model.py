"""A likelihood at one theory point as a HistFactory workspace, to be read by pyhf and its relatives."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jcevns.likelihood.likelihood import Likelihood
from jcevns.likelihood.samples import POI, HistFactorySample, contents
from jcevns.spelling import unknown

__all__ = ["INTERPOLATIONS", "to_pyhf"]

INTERPOLATIONS = ("code4p", "code0")
"""Rules between and beyond the templates of a `histosys`: pyhf's default, and straight lines that bend at nominal."""

_LUMI = "lumi"  # the only name the schema allows for the modifier of this type


def to_pyhf(
    likelihood: Likelihood, at: Mapping[str, Any] | None = None, interpolation: str = "code4p"
) -> dict[str, Any]:
    """The likelihood as a pyhf workspace (JSON schema 1.0.0), equal to eq. 17 of arXiv:2411.11749 up to a constant.

    One channel per experiment, one sample per background and per source of signal. The first flux with a constraint
    is the modifier `lumi`, a factor of nominal 1; any other normalisation a linear `histosys`, with
    alpha = (factor - 1)/sigma; a shape nuisance a `histosys` with alpha = value/sigma. -2 ln L of pyhf minus its
    value for the saturated model is chi2. Bounds are kept; one of a factor that is infinite becomes a number out of
    reach: ten times the factor at which a component alone has all the events of a bin. `normsys` and `shapesys` have
    no use: their factors are exponential in alpha, or one for each bin.

    Args:
        likelihood: the experiments and the theory.
        at: values of parameters by name; a nuisance among them stands still there, without its constraint. The
            parameters of the theory that are not named have their defaults.
        interpolation: the rule of `histosys` that the workspace is for. `code4p` is pyhf's default, for shapes that
            are straight lines. `code0`, for those that bend at nominal, must be asked for in pyhf too:
            `workspace.model(modifier_settings={"histosys": {"interpcode": "code0"}})`.

    Raises:
        ValueError: what HistFactory cannot say: shapes that bend elsewhere, or whose changes do not add up; widths
            that differ between components; two nuisances besides `lumi` on one component, whose effects pyhf would
            add, not multiply; a nuisance with a name that means something else in the workspace (`mu`, `lumi`).

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> workspace = jc.to_pyhf(likelihood)  # a dictionary for json.dump, or for pyhf.Workspace
        >>> [sample["name"] for sample in workspace["channels"][0]["samples"]]
        ['signal', 'accidental', 'electronic', 'neutron']
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(unknown("interpolation", interpolation, INTERPOLATIONS))
    likelihood, moving, every, limits = contents(likelihood, at, {_LUMI: "the factor of the flux"})
    norms = likelihood.normalisations
    lumi = next((n for n in moving if n in norms and norms[n].flux), None)
    channels = [
        {
            "name": one.name,
            "samples": [_written(likelihood, sample, lumi, interpolation) for sample in own],
        }
        for one, own in zip(likelihood.experiments, every, strict=True)
    ]
    observations = [
        {"name": one.name, "data": np.asarray(one.observed, float).tolist()} for one in likelihood.experiments
    ]
    parameters: list[dict[str, Any]] = [{"name": POI, "inits": [1.0], "bounds": [list(limits[POI])]}]
    for name in moving:
        if name not in norms:  # pyhf's default is five widths either way: beyond the templates that are known
            record = likelihood.parameters[name]
            ends = [record.lower / record.width, record.upper / record.width]
            parameters.append({"name": name, "inits": [0.0], "bounds": [ends]})
            continue
        width, (low, high) = norms[name].sigma, limits[name]
        if name == lumi:
            settings = {"auxdata": [1.0], "sigmas": [width], "inits": [1.0], "bounds": [[low, high]]}
            parameters.append({"name": _LUMI, **settings})
        else:
            # The default would allow negative yields if it is wide, and be too tight if it is narrow.
            parameters.append({"name": name, "inits": [0.0], "bounds": [[(low - 1) / width, (high - 1) / width]]})
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "jcevns", "config": {"poi": POI, "parameters": parameters}}],
    }


def _written(
    likelihood: Likelihood, sample: HistFactorySample, lumi: str | None, interpolation: str
) -> dict[str, Any]:
    """A sample of the workspace."""
    nominal = sample.templates.nominal
    linear = [n for n in sample.acting if n != lumi]
    shapes = sample.shapes()
    if len(linear) > 1 or (linear and shapes):
        both = ", ".join([*linear, *shapes.values()])
        raise ValueError(
            f"{sample.where}: {sample.name} has the nuisances {both}; pyhf adds the effects of histosys modifiers, "
            "so their product is not representable: merge them into one nuisance (widths in quadrature), fix all but "
            "one, or but the shapes, with `at` before exporting, or write `to_hs3`, where factors multiply"
        )
    modifiers: list[dict[str, Any]] = []
    for name in linear:
        width = likelihood.normalisations[name].sigma
        both = {"hi_data": ((1 + width) * nominal).tolist(), "lo_data": ((1 - width) * nominal).tolist()}
        modifiers.append({"name": name, "type": "histosys", "data": both})
    for name, full in shapes.items():
        below, above = sample.templates.slopes(f"{sample.where}: {sample.name}", name)
        width = likelihood.parameters[full].width
        if interpolation == "code4p" and not np.allclose(below, above, rtol=0, atol=1e-9 * np.max(np.abs(nominal))):
            raise ValueError(
                f"{sample.where}: {sample.name} bends at the nominal value of {name}, which pyhf's default rule "
                '(code4p) rounds off: export with interpolation="code0", and read with workspace.model('
                'modifier_settings={"histosys": {"interpcode": "code0"}})'
            )
        both = {"hi_data": (nominal + width * above).tolist(), "lo_data": (nominal - width * below).tolist()}
        modifiers.append({"name": full, "type": "histosys", "data": both})
    sample.templates.check_positive(f"{sample.where}: {sample.name}")
    if lumi in sample.acting:
        modifiers.append({"name": _LUMI, "type": "lumi", "data": None})
    if sample.signal:
        modifiers.append({"name": POI, "type": "normfactor", "data": None})
    return {"name": sample.name, "data": nominal.tolist(), "modifiers": modifiers}
