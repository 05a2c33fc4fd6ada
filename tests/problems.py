"""Catalogue of theory points that every fit test runs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from jcevns import (
    Experiment,
    Fit,
    Helm,
    Likelihood,
    Nuisance,
    Response,
    StandardModel,
    SymmetrisedFermi,
    Theory,
    b8,
    experiment,
    signal,
    xenon,
)
from jcevns.inference.fit import profile_signal

XENONNT, PANDAX = "xenonnt", "pandax"
BOTH = (XENONNT, PANDAX)
MIRROR = -0.1078  # 1 - N/Z = 4 sin2w for natural xenon, to four digits: Q_V all but vanishes


def counting(
    name: str, observed: list[float], signal_at_sm: list[float], backgrounds: dict, nuisances: tuple
) -> Experiment:
    """An experiment with a diagonal response around 1 keV, its signal about `signal_at_sm` at the Standard Model."""
    response = Response(np.linspace(0.9, 1.1, len(observed)), np.diag(signal_at_sm) / 200.0)
    return Experiment(name, b8(), xenon(), response, np.array(observed), backgrounds, nuisances)


def _zero_bin() -> Experiment:
    return counting(
        "zero-bin",
        [0, 3, 5],
        [1.0, 2.0, 1.5],
        {"flat": [0.5, 1.0, 2.0]},
        (Nuisance("b8_flux", 0.12, ("signal",), shared=True), Nuisance("flat", 0.3, ("flat",))),
    )


def _heavy() -> Experiment:
    """Backgrounds far from the data, and wide: the fit must drag their factors to 0.1 and to 4."""
    return counting(
        "heavy",
        [12, 90, 4, 7],
        [2.0, 1.0, 0.5, 0.2],
        {"low": [100.0, 5.0, 20.0, 30.0], "high": [1.0, 20.0, 0.5, 0.1]},
        (
            Nuisance("b8_flux", 0.12, ("signal",), shared=True),
            Nuisance("low", 1.0, ("low",)),
            Nuisance("high", 1.0, ("high",)),
            Nuisance("all", 0.5, ("signal", "low", "high")),
        ),
    )


_BUILD: dict[str, Callable[[], Experiment]] = {
    XENONNT: lambda: experiment("xenonnt-2024-s2"),
    PANDAX: lambda: experiment("pandax4t-us2"),
    "xenonnt-winter": lambda: experiment("xenonnt-2024-s2", shape="winter2006"),
    "xenonnt-unsmeared": lambda: experiment("xenonnt-2024-s2", response="unsmeared"),
    "pandax-T4": lambda: experiment("pandax4t-us2", table="T4"),
    "zero-bin": _zero_bin,
    "heavy": _heavy,
}


@cache
def built(key: str) -> Experiment:
    return _BUILD[key]()


@cache
def joint(keys: tuple[str, ...], flux_pull: bool = True) -> Likelihood:
    return Likelihood([built(key) for key in keys], flux_pull)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A theory point and the data it is compared with."""

    name: str
    tags: frozenset[str]
    theory: Callable[[], Theory]
    data: tuple[str, ...] = BOTH
    flux_pull: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def experiments(self) -> list[Experiment]:
        return [built(key) for key in self.data]

    @property
    def likelihood(self) -> Likelihood:
        return joint(self.data, self.flux_pull)


_profile_signal = jax.jit(profile_signal)  # compiled per number of bins and nuisances, not per likelihood


@cache
def fitted(problem: Problem) -> Fit:
    return _profile_signal(problem.likelihood.model, jnp.concatenate([jnp.asarray(s) for s in signals(problem)]))


@cache
def signals(problem: Problem) -> tuple[np.ndarray, ...]:
    """Signal of each experiment, before nuisances."""
    counts = np.asarray(signal(problem.likelihood, problem.theory()))
    ends = np.cumsum([len(e.observed) for e in problem.experiments])
    return tuple(np.split(counts, ends[:-1]))


def flux(value: float) -> Callable[[], Theory]:
    return lambda: Theory(b8_flux=value)


def sin2w(value: float, form_factor: Callable | None = None) -> Callable[[], Theory]:
    return lambda: Theory(StandardModel(jnp.asarray(value), *([form_factor()] if form_factor else [])))


def _problem(name: str, tags: str, theory: Callable[[], Theory], data=BOTH, flux_pull: bool = True) -> Problem:
    return Problem(name, frozenset(tags.split()), theory, tuple(data), flux_pull)


PROBLEMS = (
    _problem("sm", "sm", Theory),
    _problem("sm-xenonnt", "sm single", Theory, [XENONNT]),
    _problem("sm-pandax", "sm single", Theory, [PANDAX]),
    _problem("sm-flux-pull-off", "sm", Theory, flux_pull=False),
    _problem("flux-zero", "flux", flux(0.0)),
    _problem("flux-zero-pull-off", "flux", flux(0.0), flux_pull=False),
    _problem("flux-tenth", "flux", flux(0.546e6)),
    _problem("flux-ten-times", "flux excluded", flux(5.46e7)),
    _problem("flux-ten-times-pull-off", "flux excluded", flux(5.46e7), flux_pull=False),
    _problem("flux-1e9", "flux excluded", flux(1e9)),
    _problem("flux-1e9-pull-off", "flux excluded", flux(1e9), flux_pull=False),
    _problem("flux-1e9-xenonnt", "flux excluded single", flux(1e9), [XENONNT]),
    _problem("flux-1e9-pandax", "flux excluded single", flux(1e9), [PANDAX]),
    _problem("sin2w-mirror", "sin2w", sin2w(MIRROR)),
    _problem("sin2w-minus-one", "sin2w excluded", sin2w(-1.0)),
    _problem("sin2w-two", "sin2w excluded", sin2w(2.0)),
    _problem("sin2w-0.3", "sin2w", sin2w(0.3)),
    _problem("sin2w-0.3-pandax", "sin2w single", sin2w(0.3), [PANDAX]),
    _problem("helm", "form-factor", sin2w(0.23857, Helm)),
    _problem("symmetrised-fermi", "form-factor", sin2w(0.23857, SymmetrisedFermi)),
    _problem("winter", "shape single", Theory, ["xenonnt-winter"]),
    _problem("unsmeared", "response single", Theory, ["xenonnt-unsmeared"]),
    _problem("pandax-T4", "table single", Theory, ["pandax-T4"]),
    _problem("zero-count-bin", "edge single", Theory, ["zero-bin"]),
    _problem("zero-count-bin-flux-zero", "edge single", flux(0.0), ["zero-bin"]),
    _problem("heavy-pulls", "edge single", Theory, ["heavy"]),
    _problem("heavy-pulls-joint", "edge", flux(2e7), ["heavy", XENONNT]),
)


def select(tag: str) -> list[Problem]:
    return [p for p in PROBLEMS if tag in p.tags]
