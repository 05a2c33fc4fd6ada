"""Inputs of one's own in place of an experiment's: what depends on them is computed anew, or they are refused."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.detectors.charge_yield import AbstractChargeYield, TabulatedChargeYield
from jcevns.experiments.experiment import Channel, Experiment, unfitted_counts
from jcevns.experiments.names import INPUTS
from jcevns.physics.form_factors import AbstractFormFactor
from jcevns.physics.named_fluxes import fluxes
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.theories import FORM_FACTORS
from jcevns.spelling import unknown

__all__ = ["Efficiency", "Recipe", "nominal_model", "own_curve", "own_yield", "replaced", "with_fluxes"]

Efficiency = tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]
"""Energies in keV and values there."""


class Recipe(eqx.Module):
    """How a built-in experiment was built.

    Attributes:
        name: of the experiment.
        options: text and numbers, by name.
        inputs: objects given in Python, by name of the option.
        flux: fluxes put in afterwards.
    """

    name: str = eqx.field(static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())
    inputs: dict[str, Any] = eqx.field(default_factory=dict)
    flux: tuple[Any, ...] = ()

    def build(self, **changes: Any) -> Experiment:
        """The experiment with some of its options changed."""
        from jcevns.experiments.catalogue import experiment

        found = experiment(self.name, **{**dict(self.options), **self.inputs, **changes})
        return _in_fluxes(found, self.flux) if self.flux else found


_RELEASED = "efficiency and yields are inside its released templates, along which its shape nuisances move"

_REASONS = {
    **dict.fromkeys(("xenonnt-2024", "xenonnt-2026", "xenonnt-s2only-2026"), _RELEASED),
    "coherent-csi-2021": "its curves of light and efficiency have released variations, which are shape nuisances",
    "coherent-lar-2020": "its signal is scaled to the release, whose systematic templates hold for that signal alone",
    "dresden-ii": "its response is that of the quenching model: choose among the options quenching and k",
}
"""Why an experiment takes no efficiency and no yield of one's own."""


_OWN_FLUX = ("coherent", "conus", "dresden", "texono", "borexino")
"""Experiments whose responses end where the recoils of their own flux do, or whose rate was published for it."""

_REPLACED = "flux replaced:"


def replaced(experiment: Experiment, inputs: Mapping[str, Any], flux: Any = None) -> Experiment:
    """See `Experiment.replace`."""
    found = experiment
    if not inputs and flux is None:
        raise ValueError(f"experiment {experiment.name!r}: nothing to replace, give one of {', '.join(INPUTS)}")
    if inputs:
        found = _rebuilt(experiment, inputs)
    return found if flux is None else _in_fluxes(found, fluxes(flux))


def _in_fluxes(experiment: Experiment, chosen: tuple[Any, ...]) -> Experiment:
    """`with_fluxes`, noted in the recipe."""
    found, recipe = with_fluxes(experiment, chosen), experiment.recipe
    return found if recipe is None else dataclasses.replace(found, recipe=dataclasses.replace(recipe, flux=chosen))


def _rebuilt(experiment: Experiment, inputs: Mapping[str, Any]) -> Experiment:
    here, recipe = f"experiment {experiment.name!r}", experiment.recipe
    if recipe is None:
        raise ValueError(
            f"{here}: no {', '.join(inputs)} can be put in, its response holds them already: edit its file, or "
            "build the response anew and put it in by dataclasses.replace(experiment, channels=...)"
        )
    from jcevns.experiments.catalogue import takes

    for name in inputs:
        if not takes(recipe.name, name) or recipe.name in _REASONS:
            raise ValueError(f"{here}: it takes no {name} of your own: {_reason(recipe.name, name)}")
    if not eqx.tree_equal(recipe.build(), experiment):
        raise ValueError(
            f"{here}: it was changed after it was built, and the changes would be lost: replace {', '.join(inputs)} "
            f"first, in jcevns.experiment({recipe.name!r})"
        )
    return recipe.build(**inputs)


def _reason(name: str, option: str) -> str:
    if option == "form_factor":
        return (
            "the form factor is the theory's, jcevns.StandardModel(form_factor=...), and no number of this "
            "experiment was computed with one"
        )
    return _REASONS.get(name, f"it has no {option} apart, its published rate or response holds it")


def with_fluxes(experiment: Experiment, chosen: Any) -> Experiment:
    """The experiment in other fluxes, each a channel with the same target and response.

    Args:
        experiment: with one target and one response.
        chosen: see `jcevns.physics.fluxes`.

    Raises:
        ValueError: responses that differ between the channels, or a flux that is seen in no bin.
    """
    found, first = fluxes(chosen), experiment.channels[0]
    here = f"experiment {experiment.name!r}"
    if experiment.recipe is not None and experiment.recipe.name.startswith(_OWN_FLUX):
        raise ValueError(
            f"{here}: its response is made for the recoils of its own flux, and would cut those of another: give "
            "channels with a response of yours by dataclasses.replace(experiment, channels=...)"
        )
    for channel in experiment.channels[1:]:
        if not eqx.tree_equal((channel.target, channel.response), (first.target, first.response)):
            raise ValueError(
                f"{here}: its {len(experiment.channels)} channels have responses or targets of their own, made for "
                "their fluxes (times, lines, shells): give channels by dataclasses.replace(experiment, channels=...)"
            )
    channels = tuple(Channel(flux, first.target, first.response, first.faint) for flux in found)
    for channel in channels:
        if not np.any(np.asarray(unfitted_counts(StandardModel(), channel)) > 0):
            raise ValueError(
                f"{here}: flux {channel.flux.name!r} makes no event in any bin, its recoils are below what is seen"
            )
    names = ", ".join(channel.flux.name for channel in channels)
    notes = [note for note in experiment.notes if not note.startswith(_REPLACED)]
    return dataclasses.replace(
        experiment,
        channels=channels,
        status="user",
        notes=(*notes, f"{_REPLACED} {names}; response and factors c_i as they were"),
    )


def _columns(here: str, given: Any, columns: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, str | Path):
        table = datasets.read_csv(Path(given), columns)
        return table[columns[0]], table[columns[1]]
    try:
        energy, value = (np.asarray(column, float) for column in given)
    except (TypeError, ValueError):
        raise ValueError(
            f"{here} must be two columns, {columns[0]} and {columns[1]}, or a CSV file of them; it is "
            f"a {type(given).__name__}"
        ) from None
    return energy, value


def own_curve(name: str, given: Any, energy: str = "recoil_keV") -> Efficiency:
    """An efficiency of one's own.

    Args:
        name: of the experiment, for messages.
        given: energies in keV and efficiencies, or a CSV file of them.
        energy: column of the energies.

    Raises:
        ValueError: energies that do not increase, an efficiency outside [0, 1] or zero everywhere.
    """
    here = f"{name}: efficiency"
    at, value = _columns(here, given, (energy, "efficiency"))
    if at.ndim != 1 or at.shape != value.shape or at.size < 2:
        raise ValueError(f"{here}: shapes {at.shape} and {value.shape}, expected two columns of two rows or more")
    if not (np.all(np.isfinite(at)) and np.all(np.diff(at) > 0) and at[0] >= 0):
        raise ValueError(f"{here}: energies must be finite, increase and not be negative (keV)")
    if not np.all((value >= 0) & (value <= 1)):
        raise ValueError(f"{here}: values must be between 0 and 1, shares of recoils and not percent")
    if not np.any(value > 0):
        raise ValueError(f"{here}: it is zero everywhere, nothing would be seen")
    return at, value


def own_yield(name: str, given: Any) -> AbstractChargeYield:
    """A charge yield of one's own: as it is, or of a table."""
    if isinstance(given, AbstractChargeYield):
        return given
    return TabulatedChargeYield(*_columns(f"{name}: charge_yield", given, ("recoil_keV", "electrons_per_keV")))


def nominal_model(name: str, form_factor: Any) -> StandardModel:
    """The Standard Model that factors c_i are computed with."""
    if isinstance(form_factor, AbstractFormFactor):
        return StandardModel(form_factor=form_factor)
    if not isinstance(form_factor, str):
        raise ValueError(f"{name}: form_factor {form_factor!r} must be a name, as 'helm', or an AbstractFormFactor")
    if form_factor not in FORM_FACTORS:
        raise ValueError(unknown(f"{name}: form_factor", form_factor, FORM_FACTORS))
    return StandardModel(form_factor=FORM_FACTORS[form_factor]())
