"""Expected and observed counts of a likelihood as histograms."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jcevns.experiments.experiment import Experiment
from jcevns.histogram import Histogram, HistogramAxis
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood, component_counts

__all__ = ["histograms"]


def histograms(
    likelihood: Likelihood | Experiments, values: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Histogram]]:
    """`component_counts` as objects that any reader of the UHI protocol takes: hist, boost-histogram, mplhep.

    Args:
        likelihood: the experiments and the theory.
        values: of parameters by name, as a fit's `values`; the rest at their defaults.

    Returns:
        Experiment to component to histogram; `total` is the sum of the components, `observed` the data, if there are
        any. Bins are numbered where an experiment has no edges.

    Example:
        >>> import jcevns as jc
        >>> found = jc.histograms("xenonnt-2024-s2")["xenonnt-2024-s2"]
        >>> found["observed"].values().tolist(), found["observed"].axes[0].label
        ([16.0, 14.0, 7.0], 'cS2 [PE]')
    """
    likelihood = as_likelihood(likelihood)
    found = {}
    for one, parts in zip(likelihood.experiments, component_counts(likelihood, values).values(), strict=True):
        axis = _axis(one)
        counts = {name: np.asarray(part, float) for name, part in parts.items()}
        own = {name: Histogram(axis, part, name) for name, part in counts.items()}
        own["total"] = Histogram(axis, np.sum(list(counts.values()), axis=0), "total")
        if one.measured:
            own["observed"] = Histogram(axis, np.asarray(one.observed, float), "observed", observed=True)
        found[one.name] = own
    return found


def _axis(experiment: Experiment) -> HistogramAxis:
    edges = experiment.bin_edges or range(experiment.observed.size + 1)
    return HistogramAxis(np.asarray(edges, float), experiment.observable)
