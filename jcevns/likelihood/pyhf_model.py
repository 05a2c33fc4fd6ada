"""A likelihood at one theory point as a HistFactory workspace, to be read by pyhf and its relatives."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jcevns.experiments.experiment import SIGNAL, Experiment, Source, signal_by_source
from jcevns.likelihood.likelihood import Likelihood, factor_at, theory_at, with_data
from jcevns.likelihood.templates import Templates, decomposed
from jcevns.spelling import unknown

__all__ = ["INTERPOLATIONS", "POI", "to_pyhf"]

POI = "mu"
"""Parameter of interest of an exported workspace: a factor on every signal, 1 at the theory."""

INTERPOLATIONS = ("code4p", "code0")
"""Rules between and beyond the templates of a `histosys`: pyhf's default, and straight lines that bend at nominal."""

_LUMI = "lumi"  # the only name the schema allows for the modifier of this type
_LARGEST = 10.0  # bound of a normalisation factor without one: JSON has no infinity, and Minuit likes it small
_LARGEST_STRENGTH = 1e4
_ABOVE = 10.0  # how far above what the data ask for such a bound lies


class _Sample(NamedTuple):
    """A component of one experiment.

    Attributes:
        name: in the workspace.
        where: name of the experiment.
        templates: counts and how shapes change them.
        acting: full names of the normalisations that multiply it.
        signal: whether the theory predicts it.
    """

    name: str
    where: str
    templates: Templates
    acting: tuple[str, ...]
    signal: bool


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
    likelihood = with_data(likelihood, "a workspace")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(unknown("interpolation", interpolation, INTERPOLATIONS))
    given = likelihood.parameters.full_values(at)
    norms = likelihood.normalisations
    moving = [n for n in likelihood.nuisances if n not in given]
    lumi = next((n for n in moving if n in norms and norms[n].flux), None)
    _check_names(likelihood, moving)
    samples = [_samples(likelihood, i, given, moving) for i in range(len(likelihood.experiments))]
    needed = _needed(likelihood, samples)
    channels = [
        {
            "name": one.name,
            "samples": [_written(likelihood, sample, lumi, interpolation) for sample in own],
        }
        for one, own in zip(likelihood.experiments, samples, strict=True)
    ]
    observations = [
        {"name": one.name, "data": np.asarray(one.observed, float).tolist()} for one in likelihood.experiments
    ]
    parameters: list[dict[str, Any]] = [{"name": POI, "inits": [1.0], "bounds": [[0.0, needed[POI]]]}]
    for name in moving:
        record = likelihood.parameters[name]
        if name not in norms:  # pyhf's default is five widths either way: beyond the templates that are known
            ends = [record.lower / record.width, record.upper / record.width]
            parameters.append({"name": name, "inits": [0.0], "bounds": [ends]})
            continue
        width, low, high = norms[name].sigma, record.lower / record.default, record.upper / record.default
        high = high if np.isfinite(high) else needed[name]
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


def _samples(likelihood: Likelihood, i: int, given: Mapping[str, Any], moving: Sequence[str]) -> list[_Sample]:
    """Components of one experiment, at values of what stands still."""
    one, norms = likelihood.experiments[i], likelihood.normalisations
    still = {s.name: float(given[f"{one.name}.{s.name}"]) for s in one.shapes if f"{one.name}.{s.name}" in given}
    theory = theory_at(likelihood, given)
    tables = np.asarray(signal_by_source(one, theory, likelihood.moments[i]), float)
    factors = np.ones((likelihood.model.sources, likelihood.model.observed.size))
    fixed = {n: v for n, v in given.items() if n in norms}
    if fixed:
        size = factors.size
        factors = np.asarray(factor_at(likelihood, fixed), float)[:size].reshape(factors.shape)
    first, stop = likelihood.layout.bins[i]

    def acting(component: str, source: Source | None) -> tuple[str, ...]:
        powers = {n: norms[n].powers.get((i, component, source), 0.0) for n in moving if n in norms}
        return tuple(n for n, power in powers.items() if power)

    def templates(name: str, table: np.ndarray) -> Templates:
        return decomposed(f"{one.name}: {name}", table, one.shapes, one.morphing, still)

    found = []
    for place, (source, table) in enumerate(zip(likelihood.sources[i], tables, strict=True)):
        name = _name(one, source, likelihood.sources[i])
        found.append(
            _Sample(name, one.name, templates(name, table * factors[place, first:stop]), acting(SIGNAL, source), True)
        )
    for name, table in one.backgrounds.items():
        factor = 1.0
        for label, value in fixed.items():
            power = norms[label].powers.get((i, name, None), 0.0)
            factor *= (float(value) / likelihood.parameters[label].default) ** power if power else 1.0
        counts = factor * np.asarray(table, float)
        found.append(_Sample(name, one.name, templates(name, counts), acting(name, None), False))
    return found


def _name(experiment: Experiment, source: Source, every: Sequence[Source]) -> str:
    """Of a sample of signal: with its flux and its part of the bins where there are several."""
    flux = [source.flux or "spectrum"] if len({s.flux for s in every}) > 1 else []
    name = "_".join([SIGNAL, *flux, *([source.part] if source.part else [])])
    while name in experiment.backgrounds:
        name += "_"
    return name


def _needed(likelihood: Likelihood, samples: Sequence[Sequence[_Sample]]) -> dict[str, float]:
    """Bounds of factors that have none: of the signal, and of each normalisation."""
    largest: dict[str, float] = dict.fromkeys(likelihood.nuisances, _LARGEST) | {POI: _LARGEST_STRENGTH}
    for one, own in zip(likelihood.experiments, samples, strict=True):
        data = np.asarray(one.observed, float)
        for sample in own:
            counts = sample.templates.nominal
            asked = float(_ABOVE * np.max(data[counts > 0] / counts[counts > 0], initial=0.0))
            for name in (*sample.acting, *([POI] if sample.signal else [])):
                largest[name] = max(largest[name], asked)
    return largest


def _written(likelihood: Likelihood, sample: _Sample, lumi: str | None, interpolation: str) -> dict[str, Any]:
    """A sample of the workspace."""
    nominal = sample.templates.nominal
    linear = [n for n in sample.acting if n != lumi]
    shapes = [f"{sample.where}.{name}" for name in sample.templates.changes]
    if len(linear) > 1 or (linear and shapes):
        raise ValueError(
            f"{sample.where}: {sample.name} has the nuisances {', '.join([*linear, *shapes])}; pyhf adds the effects "
            "of histosys modifiers, so their product is not representable: merge them into one nuisance (widths in "
            "quadrature), or fix all but one, or but the shapes, with `at` before exporting"
        )
    modifiers: list[dict[str, Any]] = []
    for name in linear:
        width = likelihood.normalisations[name].sigma
        both = {"hi_data": ((1 + width) * nominal).tolist(), "lo_data": ((1 - width) * nominal).tolist()}
        modifiers.append({"name": name, "type": "histosys", "data": both})
    for name, full in zip(sample.templates.changes, shapes, strict=True):
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


def _check_names(likelihood: Likelihood, moving: Sequence[str]) -> None:
    """Refuse normalisations that have no counterpart in HistFactory."""
    for name, norm in likelihood.normalisations.items():
        if name in (POI, _LUMI):
            raise ValueError(
                f"a shared nuisance is named {name!r}, which in a workspace is "
                f"{'the strength of the signal' if name == POI else 'the factor of the flux'}: rename it to export"
            )
        if name in moving and any(power != 1 for power in norm.powers.values()):
            raise ValueError(
                f"{name} has different widths on its components: pyhf would add the effects linearly, not as powers "
                "of one factor; give the components nuisances of their own before exporting, or fix it with `at`"
            )
