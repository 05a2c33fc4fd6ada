"""A likelihood at one theory point as a HistFactory workspace, to be read by pyhf and its relatives."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jcevns.experiments.experiment import SIGNAL
from jcevns.likelihood import joint
from jcevns.likelihood.joint import FLUX_PULL, Likelihood
from jcevns.physics.cross_sections import AbstractInteraction, StandardModel
from jcevns.physics.recoil import Theory

__all__ = ["POI", "to_pyhf"]

POI = "mu"
"""Parameter of interest of an exported workspace: a factor on every signal, 1 at the theory."""

_LUMI = "lumi"  # the only name the schema allows for the modifier of this type
_LARGEST = 10.0  # bound of every normalisation factor
_LARGEST_STRENGTH = 1e4


def to_pyhf(likelihood: Likelihood, theory: Theory | AbstractInteraction | None = None) -> dict[str, Any]:
    """The likelihood as a pyhf workspace (JSON schema 1.0.0), equal to eq. 17 of arXiv:2411.11749 up to a constant.

    One channel per experiment, one sample per component. The flux pull is the modifier `lumi`, with
    lumi = 1 + pull; any other pull a linear `histosys`, with alpha = pull/sigma. -2 ln L of pyhf minus its
    value for the saturated model is chi2.

    Args:
        likelihood: the experiments.
        theory: predicts the signal; the Standard Model if absent.

    Raises:
        ValueError: a component has two pulls besides the flux: pyhf would add their effects, not multiply them;
            or an experiment has shape nuisances.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> workspace = jc.to_pyhf(likelihood)  # a dictionary for json.dump, or for pyhf.Workspace
        >>> [sample["name"] for sample in workspace["channels"][0]["samples"]]
        ['signal', 'accidental', 'electronic', 'neutron']
    """
    for experiment in likelihood.experiments:
        if experiment.shapes:
            raise ValueError(
                f"{experiment.name} has shape nuisances ({', '.join(s.name for s in experiment.shapes)}) that bend "
                "at their anchors: HistFactory has no such interpolation, and the likelihood cannot be exported"
            )
    counts = np.asarray(joint.signal(likelihood, StandardModel() if theory is None else theory), float)
    model, layout, labels = likelihood.model, likelihood.layout, likelihood.nuisances
    sigma, observed = np.asarray(model.sigma, float), np.asarray(model.observed, float)
    background = np.asarray(model.background, float)

    def sample(name: str, where: str, template: np.ndarray, acting: Sequence[int]) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = []
        shapes = [j for j in acting if labels[j] != FLUX_PULL]
        if len(shapes) > 1:
            raise ValueError(
                f"{where}: {name} has the pulls {', '.join(labels[j] for j in shapes)}; pyhf adds the effects of "
                "histosys modifiers, so their product is not representable: merge them into one nuisance "
                "(widths in quadrature) or drop all but one before exporting"
            )
        for j in shapes:
            data = {"hi_data": ((1 + sigma[j]) * template).tolist(), "lo_data": ((1 - sigma[j]) * template).tolist()}
            modifiers.append({"name": labels[j], "type": "histosys", "data": data})
        if len(shapes) < len(acting):
            modifiers.append({"name": _LUMI, "type": "lumi", "data": None})
        if name == SIGNAL:
            modifiers.append({"name": POI, "type": "normfactor", "data": None})
        return {"name": name, "data": template.tolist(), "modifiers": modifiers}

    channels, observations, row = [], [], 0
    for i, (experiment, (first, stop)) in enumerate(zip(likelihood.experiments, layout.bins, strict=True)):
        samples = [sample(SIGNAL, experiment.name, counts[first:stop], layout.signal[i])]
        for name in experiment.backgrounds:
            samples.append(sample(name, experiment.name, background[row, first:stop], layout.background[row][1]))
            row += 1
        channels.append({"name": experiment.name, "samples": samples})
        observations.append({"name": experiment.name, "data": observed[first:stop].tolist()})
    parameters = [{"name": POI, "inits": [1.0], "bounds": [[0.0, _LARGEST_STRENGTH]]}]
    for name, width in zip(labels, sigma.tolist(), strict=True):
        if name == FLUX_PULL:
            settings = {"auxdata": [1.0], "sigmas": [width], "inits": [1.0], "bounds": [[0.0, _LARGEST]]}
            parameters.append({"name": _LUMI, **settings})
        else:
            # pyhf's default is five widths either way: negative yields if wide, too tight if narrow.
            bounds = [[-1 / width, (_LARGEST - 1) / width]]
            parameters.append({"name": name, "inits": [0.0], "bounds": bounds})
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "jcevns", "config": {"poi": POI, "parameters": parameters}}],
    }
