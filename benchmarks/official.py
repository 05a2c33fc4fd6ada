"""XENONnT's own likelihood: flux fits with intervals and toys, against iminuit on a NumPy likelihood."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from iminuit import Minuit

import jcevns as jc
from benchmarks import engine
from jcevns import datasets
from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.statistics.hypothesis import hypothesis
from jcevns.statistics.toy_runs import throw
from jcevns.statistics.toys import ToySegments, draw, fit_segments

TARGETS = {
    "ratio_official_iminuit": (">=", 200.0),
    "ratio_official_alea": (">=", 1000.0),
    "seconds_official_1e5_toys": ("<", 300.0),
    "max_official_dflux": ("<", 1e-3),
}

_TOYS, _PEER = 1000, 20
_ALEA = "JCEVNS_ALEA_PYTHON"
"""Environment variable with the Python of an environment that has alea; without it that row is empty."""

_ACCIDENTAL = (0.0904, 0.0576)
_REFERENCE = 5.25e6  # cm^-2 s^-1, the flux of the released templates
_SIGNAL = "b8_at_5p25e6"


class NumpyLikelihood:
    """The likelihood as one writes it for iminuit: templates in NumPy, interpolated, Poisson and Gaussians."""

    def __init__(self, signal: np.ndarray):
        pack = datasets.read_arrays("xenonnt_2024_templates")
        exposure = np.asarray(pack["exposure_tonne_year"], float)
        self.signal = signal  # (t_ly, t_qy, bin) at flux 1
        scaled = np.asarray(pack["neutron"], float) * exposure[:, None, None, None]
        self.neutron = np.moveaxis(scaled, 0, -2).reshape(*scaled.shape[1:3], -1)
        self.accidental = np.asarray(pack["accidental"], float) * exposure[:, None]
        self.electronic = (np.asarray(pack["electronic"], float) * exposure[:, None]).ravel()
        self.anchors = np.asarray(pack["t_yield"], float)
        self.observed, self.centre = np.zeros(self.electronic.size), np.zeros(7)

    def _morph(self, table: np.ndarray, t_ly: float, t_qy: float) -> np.ndarray:
        place = [
            np.clip(np.searchsorted(self.anchors, t, "right") - 1, 0, self.anchors.size - 2) for t in (t_ly, t_qy)
        ]
        (i, j), (u, v) = place, [t - self.anchors[k] for t, k in zip((t_ly, t_qy), place, strict=True)]
        low = (1 - v) * table[i, j] + v * table[i, j + 1]
        high = (1 - v) * table[i + 1, j] + v * table[i + 1, j + 1]
        return (1 - u) * low + u * high

    def __call__(self, p: np.ndarray) -> float:
        flux, efficiency, first, second, neutron, electronic, t_ly, t_qy = p
        expected = flux * efficiency * self._morph(self.signal, t_ly, t_qy)
        expected = expected + neutron * self._morph(self.neutron, t_ly, t_qy) + electronic * self.electronic
        expected = expected + np.concatenate([first * self.accidental[0], second * self.accidental[1]])
        seen = self.observed > 0
        log = np.log(np.maximum(expected[seen], 1e-300) / self.observed[seen])
        value = 2 * (np.sum(expected - self.observed) - np.sum(self.observed[seen] * log))
        pulls = np.array([efficiency - 1, first - 1, second - 1, neutron - 1, electronic - 1, t_ly, t_qy])
        return value + float(np.sum(((pulls - self.centre) / self.sigma) ** 2))

    sigma = np.array([0.25, *_ACCIDENTAL, 0.58, 1.0, 1.0, 1.0])

    def fit(self, observed: np.ndarray, centre: np.ndarray) -> tuple[float, float, float]:
        """Best fit and ends of the 68% interval, in units of the reference flux."""
        self.observed, self.centre = observed, centre
        names = ("flux", "efficiency", "first", "second", "neutron", "electronic", "t_ly", "t_qy")
        # As many starts as the engine takes, and a tolerance at which the kinks do not stop it short.
        fits = []
        for start in (0.5, -0.5, 0.0):
            fit = Minuit(self, np.array([1.0, 1, 1, 1, 1, 1, start, start]), name=names)
            fit.errordef = Minuit.LEAST_SQUARES
            fit.limits = [(0, None), (0.5, 1.5), (0, None), (0, None), (0, None), (0, None), (-3, 3), (-3, 3)]
            fit.errors = [0.5, *self.sigma]
            fit.tol = 1e-4
            fit.strategy = 2
            fits.append(fit.migrad())
        fit = min(fits, key=lambda f: f.fval)
        fit.minos("flux", cl=None)
        best = fit.values["flux"]
        error = fit.merrors["flux"]
        return best, best + error.lower, best + error.upper


def _alea(each: float) -> dict[str, Any]:
    """The same fit and interval with alea, on the data (the faster case: its toys take twice as long)."""
    if _ALEA not in os.environ:
        return {"seconds_official_alea": None, "ratio_official_alea": None}
    here = Path(__file__).parent
    command = [
        os.environ[_ALEA],
        str(here / "alea_peer.py"),
        str(here.parent / "data" / "xenonnt_2024_templates.npz"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "seconds_official_alea": found["seconds_fit_and_interval"],
        "seconds_official_alea_toys": found.get("seconds_fit_and_interval_toys"),
        "best_fit_official_alea": 1e6 * found["best_fit_1e6"],
        "ratio_official_alea": found["seconds_fit_and_interval"] / each,
    }


def run() -> dict[str, Any]:
    """Time the engine and its peer on the same toys; keys as in `TARGETS`."""
    likelihood = jc.Likelihood("xenonnt-2024")
    flux = hypothesis(likelihood, "flux")
    toys = draw(flux, _REFERENCE, _TOYS, seed=7)
    threshold = chi2_threshold(ONE_SIGMA)

    def intervals() -> ToySegments:
        return fit_segments(flux, _REFERENCE, toys, threshold)

    before = time.perf_counter()
    intervals()
    first = time.perf_counter() - before
    seconds = engine.least(intervals, 3)
    best = intervals().best

    grid = len(flux.model.anchors[0]), len(flux.model.anchors[1]), flux.model.observed.size
    peer = NumpyLikelihood(np.asarray(jc.signal(likelihood, {"flux": _REFERENCE})).reshape(grid))
    order = [flux.nuisances.index(f"xenonnt-2024.{n}") for n in (
        "efficiency", "accidental_sr0", "accidental_sr1", "neutron", "electronic", "t_ly", "t_qy")]  # fmt: skip
    times, off = [], []
    for i in range(_PEER):
        before = time.perf_counter()
        theirs, _, _ = peer.fit(toys.observed[i], toys.centre[i][order])
        times.append(time.perf_counter() - before)
        off.append(abs(theirs * _REFERENCE - best[i]) / _REFERENCE)
    before = time.perf_counter()
    thrown = throw(likelihood, "flux", _REFERENCE, 100_000, seed=11)
    many = time.perf_counter() - before
    each = seconds / _TOYS
    return {
        "seconds_official_interval": each,
        "seconds_official_interval_first_call": first,
        "seconds_official_iminuit": float(np.mean(times)),
        "ratio_official_iminuit": float(np.mean(times)) / each,
        **_alea(each),
        "seconds_official_1e5_toys": many,
        "fraction_valid_official_toys": float(np.mean(thrown.valid)),
        "median_official_dflux": float(np.median(off)),
        "max_official_dflux": float(np.max(off)),
        "toys_official_peer": _PEER,
    }
