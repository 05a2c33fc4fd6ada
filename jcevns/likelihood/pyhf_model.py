"""A likelihood at one theory point as a HistFactory workspace, to be read by pyhf and its relatives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jcevns.experiments.experiment import SIGNAL
from jcevns.likelihood.likelihood import Likelihood, signal, with_data

__all__ = ["POI", "to_pyhf"]

POI = "mu"
"""Parameter of interest of an exported workspace: a factor on every signal, 1 at the theory."""

_LUMI = "lumi"  # the only name the schema allows for the modifier of this type
_LARGEST = 10.0  # bound of a normalisation factor without one: JSON has no infinity, and Minuit likes it small
_LARGEST_STRENGTH = 1e4
_ABOVE = 10.0  # how far above what the data ask for such a bound lies


def to_pyhf(likelihood: Likelihood, at: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The likelihood as a pyhf workspace (JSON schema 1.0.0), equal to eq. 17 of arXiv:2411.11749 up to a constant.

    One channel per experiment, one sample per component. The first flux with a constraint is the modifier `lumi`, a
    factor of nominal 1; any other nuisance a linear `histosys`, with alpha = (factor - 1)/sigma. -2 ln L of pyhf
    minus its value for the saturated model is chi2. Bounds of the factors are kept; one that is infinite becomes a
    number out of reach: ten times the factor at which a component alone has all the events of a bin.

    Args:
        likelihood: the experiments and the theory.
        at: values of parameters by name; a nuisance among them stands still there, without its constraint. The
            parameters of the theory that are not named have their defaults.

    Raises:
        ValueError: what HistFactory cannot say: shape nuisances, signals from several sources, widths that differ
            between components, two nuisances besides `lumi` on one component, whose effects pyhf would add, not
            multiply, or a nuisance with a name that means something else in the workspace (`mu`, `lumi`).

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> workspace = jc.to_pyhf(likelihood)  # a dictionary for json.dump, or for pyhf.Workspace
        >>> [sample["name"] for sample in workspace["channels"][0]["samples"]]
        ['signal', 'accidental', 'electronic', 'neutron']
    """
    likelihood = with_data(likelihood, "a workspace")
    _check(likelihood)
    given = likelihood.parameters.full_values(at)
    norms = likelihood.normalisations
    labels = likelihood.nuisances
    fixed = {n: float(v) / likelihood.parameters[n].default for n, v in given.items() if n in norms}
    counts = np.asarray(signal(likelihood, given), float)
    model, layout = likelihood.model, likelihood.layout
    sigma, observed = np.asarray(model.sigma, float), np.asarray(model.observed, float)
    background = np.asarray(model.background, float)
    lumi = next((n for n in labels if norms[n].flux and n not in fixed), None)

    largest = dict.fromkeys(labels, _LARGEST)

    def sample(
        name: str, where: str, template: np.ndarray, acting: Sequence[int], data: np.ndarray
    ) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = []
        moving = [j for j in acting if labels[j] not in fixed]
        linear = [j for j in moving if labels[j] != lumi]
        if len(linear) > 1:
            raise ValueError(
                f"{where}: {name} has the nuisances {', '.join(labels[j] for j in linear)}; pyhf adds the effects of "
                "histosys modifiers, so their product is not representable: merge them into one nuisance "
                "(widths in quadrature), or fix all but one with `at` before exporting"
            )
        needed = _ABOVE * np.max(data[template > 0] / template[template > 0], initial=0.0)
        for j in moving:
            largest[labels[j]] = max(largest[labels[j]], float(needed))
        if name == SIGNAL:
            strengths.append(float(needed))
        for j in linear:
            both = {"hi_data": ((1 + sigma[j]) * template).tolist(), "lo_data": ((1 - sigma[j]) * template).tolist()}
            modifiers.append({"name": labels[j], "type": "histosys", "data": both})
        if len(linear) < len(moving):
            modifiers.append({"name": _LUMI, "type": "lumi", "data": None})
        if name == SIGNAL:
            modifiers.append({"name": POI, "type": "normfactor", "data": None})
        return {"name": name, "data": template.tolist(), "modifiers": modifiers}

    channels, observations, strengths = [], [], [_LARGEST_STRENGTH]
    for i, (experiment, (first, stop)) in enumerate(zip(likelihood.experiments, layout.bins, strict=True)):
        (own,) = layout.signals_of(i)
        data = observed[first:stop]
        samples = [sample(SIGNAL, experiment.name, counts[first:stop], own.acting, data)]
        for name, component in zip(experiment.backgrounds, layout.backgrounds_of(i), strict=True):
            factor = np.prod([fixed.get(labels[j], 1.0) for j in component.acting])
            template = factor * background[component.place, first:stop]
            samples.append(sample(name, experiment.name, template, component.acting, data))
        channels.append({"name": experiment.name, "samples": samples})
        observations.append({"name": experiment.name, "data": data.tolist()})
    parameters: list[dict[str, Any]] = [{"name": POI, "inits": [1.0], "bounds": [[0.0, max(strengths)]]}]
    for name, width in zip(labels, sigma.tolist(), strict=True):
        record = likelihood.parameters[name]
        low, high = record.lower / record.default, record.upper / record.default
        high = high if np.isfinite(high) else largest[name]
        if name in fixed:
            continue
        if name == lumi:
            settings = {"auxdata": [1.0], "sigmas": [width], "inits": [1.0], "bounds": [[low, high]]}
            parameters.append({"name": _LUMI, **settings})
        else:
            # pyhf's default is five widths either way: negative yields if wide, too tight if narrow.
            parameters.append({"name": name, "inits": [0.0], "bounds": [[(low - 1) / width, (high - 1) / width]]})
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "jcevns", "config": {"poi": POI, "parameters": parameters}}],
    }


def _check(likelihood: Likelihood) -> None:
    """Refuse what has no counterpart in HistFactory."""
    for experiment, sources in zip(likelihood.experiments, likelihood.sources, strict=True):
        if experiment.shapes:
            raise ValueError(
                f"{experiment.name} has shape nuisances ({', '.join(s.name for s in experiment.shapes)}) that bend "
                "at their anchors: HistFactory has no such interpolation, and the likelihood cannot be exported"
            )
        if experiment.parts:
            raise ValueError(
                f"{experiment.name} has nuisances on the signal of parts of its bins "
                f"({', '.join(name for name, _ in experiment.parts)}): export each part as an experiment of its own"
            )
        if len(sources) > 1:
            named = ", ".join(dict.fromkeys(s.flux or "a recoil spectrum" for s in sources))
            raise ValueError(
                f"{experiment.name} has signals from several sources ({named}): pyhf has one parameter of interest "
                "for all, export a likelihood of one source"
            )
    for name, norm in likelihood.normalisations.items():
        if name in (POI, _LUMI):
            raise ValueError(
                f"a shared nuisance is named {name!r}, which in a workspace is "
                f"{'the strength of the signal' if name == POI else 'the factor of the flux'}: rename it to export"
            )
        if any(power != 1 for power in norm.powers.values()):
            raise ValueError(
                f"{name} has different widths on its components: pyhf would add the effects linearly, not as powers "
                "of one factor; give the components nuisances of their own before exporting"
            )
