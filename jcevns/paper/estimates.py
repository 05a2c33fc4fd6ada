"""Best fit and intervals of the flux and of the weak mixing angle, with the paper's two treatments of the flux."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array

from jcevns.compiled import compiled
from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.experiments.experiment import SIGNAL, Experiment
from jcevns.experiments.nuisances import Nuisance
from jcevns.fit.interval import Profiles1D
from jcevns.fit.segments import Segment
from jcevns.fit.surface import Surface
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import Likelihood
from jcevns.physics.flux import B8_FLUX, B8_RELATIVE_ERROR, FLUX_UNIT
from jcevns.physics.nuclei import mirror_sin2w, xenon

__all__ = ["MIRROR", "PULL", "UNITS", "Estimate", "estimate", "estimate_json", "fit_command", "with_flux_error"]

PULL = {"flux": False, "sin2w": True}
"""Quantities of the paper, and whether the 12% of the solar model are on in its table."""

UNITS = {"flux": FLUX_UNIT, "sin2w": ""}

MIRROR = mirror_sin2w(xenon())
"""sin2w at which the weak charge of xenon vanishes."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One of the paper's quantities.

    Attributes:
        quantity: `flux` or `sin2w`.
        experiments: names.
        best_fit: value at the lowest chi2.
        interval_68: ends at Delta chi2 = 1, of the segment with the best fit; None if open.
        interval_90: the same at 2.71.
        chi2_min: the lowest chi2.
        significance: sqrt(Delta chi2) of no flux.
        valid: the minimum and all ends rest on valid fits.
        edm: estimated distance to the minimum over the nuisances.
        pulls: of the nuisances, in sigmas.
        flux_pull: whether the 12% of the solar model were on.
        data_status: of each experiment.
        note: what must be known.
    """

    quantity: str
    experiments: tuple[str, ...]
    best_fit: float
    interval_68: Segment
    interval_90: Segment
    chi2_min: float
    significance: float | None
    valid: bool
    edm: float
    pulls: dict[str, float]
    flux_pull: bool
    data_status: dict[str, dict]
    note: str

    @property
    def errors(self) -> tuple[float | None, float | None]:
        """Up and down."""
        low, high = self.interval_68
        return None if high is None else high - self.best_fit, None if low is None else self.best_fit - low

    def values(self, likelihood: Likelihood) -> dict[str, float]:
        """The quantity and the nuisances at the minimum, by name in a likelihood of the same experiments."""
        records = {n: likelihood.parameters[n] for n in self.pulls}
        return {self.quantity: self.best_fit} | {n: p.default + self.pulls[n] * p.width for n, p in records.items()}

    @property
    def row(self) -> dict[str, Any]:
        """For a table."""
        up, down = self.errors
        result = {"best_fit": self.best_fit, "error_up": up, "error_down": down}
        return result | {"significance": self.significance, "valid": self.valid}


def with_flux_error(built: Experiment) -> Experiment:
    """The error of the solar model as a factor of its own on the signal, beside a flux that is measured.

    One reading of what the paper does with its flux nuisance in the fit of the flux; the factor multiplies the flux.
    """
    error = Nuisance("b8_flux", B8_RELATIVE_ERROR, (SIGNAL,), shared=True)
    return dataclasses.replace(built, nuisances=(error, *built.nuisances))


def estimate(quantity: str, experiments: Sequence[Experiment], flux_pull: bool | None = None) -> Estimate:
    """One of the paper's quantities with one treatment of the flux; that of its table if None.

    The same as `fit`, without a covariance.
    """
    pull = PULL[quantity] if flux_pull is None else flux_pull
    if quantity == "flux":
        likelihood = Likelihood([with_flux_error(e) if pull else e for e in experiments])
        surface = Surface(likelihood, "flux.b8")
    else:
        surface = Surface(Likelihood(experiments), quantity, {} if pull else {"flux.b8": B8_FLUX})
    search = Profiles1D(surface, np.zeros((1, 0)), chi2_threshold(0.90))
    (one,) = search.surveys
    ends: list[Segment] = []
    good = True
    for cl in (ONE_SIGMA, 0.90):
        ((segments, problems),) = search.segments(np.array([one.chi2_min + chi2_threshold(cl)]))
        ends.append(_around(one.best, segments))
        good = good and not problems
    (record,) = surface.records
    places = [one.best] if record.null is None else [one.best, record.null]
    there = surface.evaluate(np.array(places)[:, None])
    model, names = surface.arrangement.model, surface.arrangement.nuisances
    pulls = np.asarray(_pulls(model, there.x[:, 0]))
    return Estimate(
        quantity,
        surface.likelihood.names,
        one.best,
        ends[0],
        ends[1],
        one.chi2_min,
        None if record.null is None else math.sqrt(max(float(there.chi2[1]) - one.chi2_min, 0.0)),
        good and bool(there.valid.all()),
        float(there.edm[0]),
        dict(zip(names, map(float, pulls), strict=True)),
        pull,
        dict(surface.likelihood.data_status()),
        record.note or f"from 0 up; the 12% of the solar model are {'a factor beside it' if pull else 'off'}",
    )


@compiled
def _pulls(model: models.Model, x: Array) -> Array:
    return models.sigmas(model, models.pulls(model, x))


def _around(best: float, segments: Sequence[Segment]) -> Segment:
    """The segment that holds the best fit."""
    for low, high in segments:
        if (low is None or low <= best) and (high is None or best <= high):
            return low, high
    return None, None


def fit_command(
    quantity: str, experiments: Mapping[str, Mapping[str, Any]], flux_pull: bool | None = None, theory: str = ""
) -> str:
    """The command line that gives a parameter of these experiments, by name with their options.

    Empty if there is none: a flux that is measured with its error as a factor beside it is of the paper alone.
    """
    pull = PULL.get(quantity, True) if flux_pull is None else flux_pull
    if quantity == "flux" and pull:
        return ""
    specs = [":".join([name, *(f"{k}={v}" for k, v in options.items())]) for name, options in experiments.items()]
    words = ["jcevns fit", quantity, f"--experiments {','.join(specs)}"]
    words += [f"--theory {theory}"] if theory else []
    words += [] if pull or quantity == "flux" else [f"--at flux={B8_FLUX:g}"]
    return " ".join(words)


def estimate_json(found: Estimate) -> dict[str, Any]:
    """An estimate as JSON: intervals as [lower, upper], null for an open end or an infinite significance."""
    out = dataclasses.asdict(found)
    out = {"parameter": out.pop("quantity"), "unit": UNITS[found.quantity]} | out
    for key in ("experiments", "interval_68", "interval_90"):
        out[key] = list(out[key])
    if found.significance is not None and not math.isfinite(found.significance):
        out["significance"] = None
    return out
