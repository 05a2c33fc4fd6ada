"""Catalogue of theory points that every fit test runs on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcevns import (
    Channel,
    Experiment,
    Interaction,
    Likelihood,
    Nuisance,
    StandardModel,
    experiment,
    parameter,
    signal,
)
from jcevns.detectors import Response
from jcevns.fit.contour import Contour
from jcevns.fit.profile import profile_model
from jcevns.likelihood import model as models
from jcevns.likelihood.arrangement import Arrangement
from jcevns.likelihood.likelihood import arranged
from jcevns.parameters import Parameters
from jcevns.physics import Helm, SymmetrisedFermi, b8, xenon

XENONNT, PANDAX = "xenonnt", "pandax"
BOTH = (XENONNT, PANDAX)
MIRROR = -0.1078  # 1 - N/Z = 4 sin2w for natural xenon, to four digits: Q_V all but vanishes


FLUX = "flux.b8"
NOMINAL = 5.46e6  # cm^-2 s^-1


def counting(
    name: str,
    observed: list[float],
    signal_at_sm: list[float],
    backgrounds: dict,
    nuisances: tuple,
    error: float | None = 0.12,
) -> Experiment:
    """An experiment with a diagonal response around 1 keV, its signal about `signal_at_sm` at the Standard Model.

    `error` is that of the 8B flux; with None it is no nuisance.
    """
    response = Response(np.linspace(0.9, 1.1, len(observed)), np.diag(signal_at_sm) / 200.0)
    channel = Channel(dataclasses.replace(b8(), error=error), xenon(), response)
    return Experiment(name, channel, np.array(observed), backgrounds, nuisances)


def _zero_bin() -> Experiment:
    return counting(
        "zero-bin",
        [0, 3, 5],
        [1.0, 2.0, 1.5],
        {"flat": [0.5, 1.0, 2.0]},
        (Nuisance("flat", 0.3, ("flat",)),),
    )


def _heavy() -> Experiment:
    """Backgrounds far from the data, and wide: the fit must drag their factors to 0.1 and to 4."""
    return counting(
        "heavy",
        [12, 90, 4, 7],
        [2.0, 1.0, 0.5, 0.2],
        {"low": [100.0, 5.0, 20.0, 30.0], "high": [1.0, 20.0, 0.5, 0.1]},
        (
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
def joint(keys: tuple[str, ...]) -> Likelihood:
    return Likelihood([built(key) for key in keys])


def bounded(likelihood: Likelihood, name: str, **changes: Any) -> Likelihood:
    """The same with another range, scale or default of one parameter, without a class that would compile anew."""
    changed = likelihood.under(likelihood.theory)
    records = [dataclasses.replace(p, **changes) if p.name == name else p for p in likelihood.parameters.values()]
    changed.__dict__["parameters"] = Parameters(records)
    return changed


@cache
def arrangement(keys: tuple[str, ...], flux: bool = True) -> Arrangement:
    """Numbers of a likelihood, the 8B flux among its nuisances or not."""
    return arranged(joint(keys), () if flux else (FLUX,))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A signal and the data it is compared with."""

    name: str
    tags: frozenset[str]
    theory: Callable[[], StandardModel]
    factor: float = 1.0  # on the signal; the constraint of the flux is around this multiple of the nominal one
    data: tuple[str, ...] = BOTH
    flux: bool = True  # whether the flux is a nuisance

    def __str__(self) -> str:
        return self.name

    @property
    def experiments(self) -> list[Experiment]:
        return [built(key) for key in self.data]

    @property
    def likelihood(self) -> Likelihood:
        return joint(self.data)

    @property
    def arrangement(self) -> Arrangement:
        return arrangement(self.data, self.flux)


class Fitted(NamedTuple):
    """A profile fit; pulls are relative, factor - 1."""

    chi2: Any
    pulls: Any
    expected: Any
    edm: Any
    valid: Any
    steps: Any


def profile_signal(model: models.Model, counts: Any) -> Fitted:
    """The profile fit of a given signal."""
    value, x, expected, edm, valid, steps = profile_model(model, counts)
    return Fitted(value, models.pulls(model, x), expected, edm, valid, steps)


compiled = jax.jit(profile_signal)  # per number of bins and nuisances, not per likelihood


@cache
def fitted(problem: Problem) -> Fitted:
    return compiled(problem.arrangement.model, jnp.concatenate([jnp.asarray(s) for s in signals(problem)]))


@cache
def signals(problem: Problem) -> tuple[np.ndarray, ...]:
    """Signal of each experiment, before nuisances."""
    counts = problem.factor * np.asarray(signal(problem.likelihood.under(problem.theory())))
    ends = np.cumsum([len(e.observed) for e in problem.experiments])
    return tuple(np.split(counts, ends[:-1]))


def sin2w(value: float, form_factor: Callable | None = None) -> Callable[[], StandardModel]:
    return lambda: StandardModel(jnp.asarray(value), *([form_factor()] if form_factor else []))


def _problem(
    name: str, tags: str, theory: Callable[[], StandardModel], factor: float = 1.0, data=BOTH, flux: bool = True
) -> Problem:
    return Problem(name, frozenset(tags.split()), theory, factor, tuple(data), flux)


PROBLEMS = (
    _problem("sm", "sm", StandardModel),
    _problem("sm-xenonnt", "sm single", StandardModel, data=[XENONNT]),
    _problem("sm-pandax", "sm single", StandardModel, data=[PANDAX]),
    _problem("sm-flux-fixed", "sm", StandardModel, flux=False),
    _problem("flux-zero", "flux", StandardModel, 0.0),
    _problem("flux-zero-fixed", "flux", StandardModel, 0.0, flux=False),
    _problem("flux-tenth", "flux", StandardModel, 0.1),
    _problem("flux-ten-times", "flux excluded", StandardModel, 10.0),
    _problem("flux-ten-times-fixed", "flux excluded", StandardModel, 10.0, flux=False),
    _problem("flux-1e9", "flux excluded", StandardModel, 1e9 / NOMINAL),
    _problem("flux-1e9-fixed", "flux excluded", StandardModel, 1e9 / NOMINAL, flux=False),
    _problem("flux-1e9-xenonnt", "flux excluded single", StandardModel, 1e9 / NOMINAL, [XENONNT]),
    _problem("flux-1e9-pandax", "flux excluded single", StandardModel, 1e9 / NOMINAL, [PANDAX]),
    _problem("sin2w-mirror", "sin2w", sin2w(MIRROR)),
    _problem("sin2w-minus-one", "sin2w excluded", sin2w(-1.0)),
    _problem("sin2w-two", "sin2w excluded", sin2w(2.0)),
    _problem("sin2w-0.3", "sin2w", sin2w(0.3)),
    _problem("sin2w-0.3-pandax", "sin2w single", sin2w(0.3), data=[PANDAX]),
    _problem("helm", "form-factor", sin2w(0.23857, Helm)),
    _problem("symmetrised-fermi", "form-factor", sin2w(0.23857, SymmetrisedFermi)),
    _problem("winter", "shape single", StandardModel, data=["xenonnt-winter"]),
    _problem("unsmeared", "response single", StandardModel, data=["xenonnt-unsmeared"]),
    _problem("pandax-T4", "table single", StandardModel, data=["pandax-T4"]),
    _problem("zero-count-bin", "edge single", StandardModel, data=["zero-bin"]),
    _problem("zero-count-bin-flux-zero", "edge single", StandardModel, 0.0, ["zero-bin"]),
    _problem("heavy-pulls", "edge single", StandardModel, data=["heavy"]),
    _problem("heavy-pulls-joint", "edge", StandardModel, 2e7 / NOMINAL, ["heavy", XENONNT]),
)


def select(tag: str) -> list[Problem]:
    return [p for p in PROBLEMS if tag in p.tags]


# Profiles along one parameter -----------------------------------------------------------------------------------


class Shaped(Interaction):
    """The Standard Model's signal times a sum of functions of eps, each with a factor in every bin."""

    eps: jax.Array = parameter(0.0)
    other: jax.Array = parameter(0.0)
    table: jax.Array = eqx.field(default=None)  # (function, bin)
    functions: Callable = eqx.field(static=True, default=None)  # of eps, other and the library

    def weights(self):
        return jnp.stack([jnp.asarray(f, float) for f in self.functions(self.eps, self.other, jnp)])

    def terms(self, recoil, particle, flavour):
        model = StandardModel()
        whole = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        place = jnp.linspace(0.9, 1.1, self.table.shape[1]) * 1e-3  # MeV, as in `counting`
        return jnp.stack([jnp.interp(recoil, place, row) * whole for row in self.table])


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A profile in one parameter, written in NumPy too: the reference that fits are compared with."""

    name: str
    why: str  # it is hard
    functions: Callable  # of eps, other and the library, NumPy or JAX's
    table: tuple[tuple[float, ...], ...]  # expected events at function 1, (function, bin)
    observed: tuple[float, ...]
    background: tuple[float, ...]
    span: tuple[float, float]  # where all structure is
    bounds: dict[str, float] = dataclasses.field(default_factory=dict)
    others: tuple[float, float] | None = None  # range of the second parameter, if it is profiled

    def __str__(self) -> str:
        return self.name

    def likelihood(self) -> Likelihood:
        bins = len(self.observed)
        base = counting(
            self.name, list(self.observed), [200.0] * bins, {"flat": list(self.background)}, (), error=None
        )
        unit = np.asarray(signal(Likelihood(base)))
        theory = Shaped(table=jnp.asarray(np.array(self.table) / unit), functions=self.functions)
        here = bounded(Likelihood(base, theory), "eps", **self.bounds)
        low, high = self.others or (-math.inf, math.inf)
        return bounded(here, "other", lower=low, upper=high)

    def chi2(self, eps: Any, other: Any = 0.0) -> np.ndarray:
        """Eq. 17 without nuisances; over the second parameter by a dense grid and parabolas around its minima."""
        if self.others is not None and np.ndim(other) == 0:
            grid = np.linspace(*self.others, 4001)
            return np.array([self._lowest(float(e), grid) for e in np.atleast_1d(eps)])
        eps, other = np.broadcast_arrays(np.asarray(eps, float), other)
        with np.errstate(all="ignore"):
            rows = np.stack(
                np.broadcast_arrays(*[np.asarray(f, float) + 0 * eps for f in self.functions(eps, other, np)])
            )
            N = np.tensordot(rows, np.array(self.table), (0, 0)) + np.array(self.background)
            D = np.array(self.observed)
            value = 2 * np.sum(N - D + np.where(D > 0, D * np.log(np.where(D > 0, D, 1.0) / N), 0.0), axis=-1)
        return np.where(np.isfinite(value), value, 1e300)

    def _lowest(self, eps: float, grid: np.ndarray) -> float:
        for _ in range(6):
            value = self.chi2(np.full(grid.size, eps), grid)
            k = int(np.argmin(value))
            grid = np.linspace(grid[max(k - 1, 0)], grid[min(k + 1, grid.size - 1)], 41)
        return float(value[k])


def quadratic(e, o, lib) -> list:
    return [1.0 + 0 * e, e, e**2]


def amplitude(*slopes: float, events: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Table of `quadratic` for events (1 + a eps)^2, with an a for each bin."""
    a, n = np.array(slopes), np.array(events)
    return tuple(map(tuple, (n, 2 * a * n, a**2 * n)))


CURVES = (
    Curve(
        "two-dip",
        "An amplitude and its negative fit nearly alike: a search from the default ends in the shallower dip.",
        quadratic,
        amplitude(-20.0, -21.0, -23.0, events=(3.0, 5.0, 3.0)),
        (12.0, 14.0, 12.0),
        (7.0, 9.0, 9.0),
        (-1.0, 1.0),
        {"default": 0.1, "lower": -1.0, "scale": 1.0},
    ),
    Curve(
        "narrow-dips",
        "Both dips together are a thousandth of the range, far from the default and from each other.",
        quadratic,
        amplitude(3.0e3, 3.1e3, 2.9e3, events=(30.0, 50.0, 30.0)),
        (33.0, 60.0, 41.0),
        (3.0, 9.0, 9.0),
        (-0.002, 0.002),
        {"default": 0.9, "lower": -1.0, "upper": 1.0, "scale": 1.0},
    ),
    Curve(
        "signed",
        "No bounds, and the default on the top between the dips, where the slope vanishes as well.",
        lambda e, o, lib: [1.0 + 0 * e, e**2],
        ((2.0, 3.0, 4.0), (10.0, 10.0, 9.0)),
        (25.0, 23.0, 29.0),
        (5.0, 6.0, 5.0),
        (-6.0, 6.0),
    ),
    Curve(
        "bounded",
        "Fewer events than background: the minimum is on the bound, where the slope does not vanish.",
        lambda e, o, lib: [e],
        ((4.0, 6.0, 5.0),),
        (12.0, 15.0, 9.0),
        (20.0, 20.0, 20.0),
        (0.0, 20.0),
        {"default": 1.0, "lower": 0.0},
    ),
    Curve(
        "bounded-above",
        "The lowest point is on the upper bound, and a dip in the inside is nearly as deep.",
        lambda e, o, lib: [e**2 * (e - 2) ** 2 + 0.3 * e],
        ((6.0, 6.0),),
        (14.0, 15.0),
        (4.0, 4.0),
        (-0.2, 2.4),
        {"lower": -0.2, "upper": 2.4},
    ),
    Curve(
        "flat",
        "No value is excluded: all ends are open, and there is next to no slope to follow.",
        lambda e, o, lib: [1.0 + 0 * e, e / lib.sqrt(1 + e**2)],
        ((5.0, 6.0, 7.0), (0.5, 0.4, 0.3)),
        (12.0, 12.0, 13.0),
        (6.0, 6.0, 6.0),
        (-50.0, 50.0),
    ),
    Curve(
        "kinked",
        "|eps|: the minimum is where the slope jumps, not where it vanishes.",
        lambda e, o, lib: [1.0 + 0 * e, lib.abs(e - 0.3)],
        ((5.0, 6.0), (20.0, 10.0)),
        (9.0, 10.0),
        (5.0, 6.0),
        (-5.0, 5.0),
        {"default": 2.0},
    ),
    Curve(
        "kinked-dips",
        "||eps| - 1|: a kink on the top and one in each dip.",
        lambda e, o, lib: [lib.abs(lib.abs(e) - 1.0)],
        ((30.0, 40.0),),
        (3.0, 5.0),
        (4.0, 5.0),
        (-5.0, 5.0),
        {"default": -0.2, "scale": 10.0},
    ),
    Curve(
        "saturating",
        "The signal levels off and so does chi2: after a gap the interval goes on to infinity.",
        lambda e, o, lib: [e**2 * (3 + e**2) / (1 + e**4)],
        ((10.0, 10.0, 11.0),),
        (22.0, 23.0, 21.0),
        (11.0, 12.0, 11.0),
        (-30.0, 30.0),
        {"lower": 0.0},
    ),
    Curve(
        "threshold",
        "Near the default some functions vanish and others are proportional; elsewhere they are not.",
        lambda e, o, lib: [1.0 + 0 * e, lib.maximum(e - 40.0, 0.0), lib.minimum(e, 30.0)],
        ((8.0, 9.0), (5.0, 0.0), (0.01, 0.3)),
        (20.0, 17.0),
        (8.0, 7.0),
        (-20.0, 120.0),
        {"lower": -20.0, "scale": 1.0},
    ),
    Curve(
        "periodic",
        "Equal dips, each a global minimum: all belong to the answer.",
        lambda e, o, lib: [1.0 + lib.sin(e)],
        ((12.0, 15.0, 12.0),),
        (13.0, 17.0, 14.0),
        (5.0, 5.0, 5.0),
        (-10.0, 9.0),
        {"lower": -10.0, "upper": 9.0},
    ),
    Curve(
        "far",
        "The minimum is a million scales away from the default.",
        lambda e, o, lib: [(e / 1e6) ** 2],
        ((10.0, 11.0),),
        (70.0, 60.0),
        (7.0, 7.0),
        (-1e7, 1e7),
        {"default": 1.0, "lower": 0.0, "scale": 1.0},
    ),
    Curve(
        "many-events",
        "A hundred million events: a standard deviation is 1e-4 of the signal, and chi2 loses half of its digits.",
        quadratic,
        amplitude(1.0, 1.01, events=(5e7, 6e7)),
        (5.6e7, 6.7e7),
        (1e6, 1e6),
        (-4.0, 2.0),
    ),
    Curve(
        "two-parameter",
        "The profiled parameter has two minima: the profile changes from one to the other, with a kink in between.",
        lambda e, o, lib: [1.0 + 0 * e, e * o, o**2 + 0.05 * (e - 1) ** 2, o**4, 0.5 * o],
        ((9.0, 6.0, 7.0), (5.0, 5.0, 4.0), (-3.0, 2.0, 2.0), (6.0, 1.0, 1.0), (1.0, 0.0, 1.0)),
        (17.0, 21.0, 30.0),
        (8.0, 8.0, 8.0),
        (-3.0, 3.0),
        {"lower": -3.0, "upper": 3.0},
        (-1.5, 1.5),
    ),
)


def contour(lines: dict, closed: dict) -> Contour:
    """A result of `jc.contour` with given lines at 68% and 90%, around (0.2, 5e6)."""
    return Contour(
        names=("sin2w", "flux.b8"),
        units=("", "cm^-2 s^-1"),
        labels=(r"$\sin^2\theta_W$", r"$\Phi$"),
        cl=(0.683, 0.90),
        dof=2,
        thresholds=(2.3, 4.6),
        best_fit=(0.2, 5e6),
        chi2_min=1.0,
        lines=lines,
        closed=closed,
        window=((0.0, 1.0), (0.0, 1e7)),
    )
