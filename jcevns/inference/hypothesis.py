"""One parameter of interest as toys and projections need it: its signal a polynomial, folded once for all."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.inference.grid import coupling_terms, natural_coupling
from jcevns.inference.parameters import Parameter, find_parameter
from jcevns.likelihood import joint, morphing
from jcevns.likelihood.joint import Likelihood, as_morphing
from jcevns.likelihood.morphing import MorphingModel
from jcevns.physics.cross_sections import AbstractInteraction
from jcevns.physics.interactions import interaction

__all__ = ["Hypothesis", "coupling_hypothesis", "hypothesis"]

_RELATIVE = 1e-8  # a signal that differs more from its polynomial is not one


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A likelihood and one parameter of interest whose signal is a polynomial.

    Attributes:
        name: of the parameter.
        unit: of the parameter.
        model: numbers of the likelihood.
        nuisances: names of the nuisances.
        terms: signals that the powers multiply, in powers of value/scale; shape (power, anchor_bin).
        powers: exponents; (1,) for a strength, which is fitted together with the nuisances.
        scale: size of the parameter that a fit works in units of.
        lower: physical lower bound.
        grid: values on which a parameter that is not a strength is searched.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> flux.is_strength, flux.unit, len(flux.nuisances)
        (True, 'cm^-2 s^-1', 4)
    """

    name: str
    unit: str
    model: MorphingModel
    nuisances: tuple[str, ...]
    terms: Float[np.ndarray, "power anchor_bin"]
    powers: tuple[int, ...]
    scale: float
    lower: float
    grid: Float[np.ndarray, " node"]

    @property
    def is_strength(self) -> bool:
        """Whether the signal is proportional to the parameter."""
        return self.powers == (1,)

    def weights(self, value: Float[np.ndarray, "*toy"] | float) -> Float[np.ndarray, "*toy power"]:
        """What the terms are multiplied by at one value, or at several."""
        u = np.asarray(value, float) / self.scale
        return np.stack([u**p for p in self.powers], axis=-1)

    def signal(self, value: Float[np.ndarray, "*toy"] | float) -> Float[np.ndarray, "*toy anchor_bin"]:
        """Signal at one value, or at several."""
        return self.weights(value) @ self.terms

    def expected(self, value: float, pulls: Float[np.ndarray, " nuisance"]) -> Float[Array, " bin"]:
        """Expected counts at given pulls."""
        counts = morphing.component_counts(self.model, jnp.asarray(self.signal(value)), jnp.asarray(pulls))
        return jnp.sum(counts, axis=0)


def hypothesis(likelihood: Likelihood, parameter: str | Parameter) -> Hypothesis:
    """The flux, sin2w or a parameter of your own whose signal is a polynomial of degree two or less.

    Args:
        likelihood: the experiments.
        parameter: name, or a `Parameter`.

    Raises:
        ValueError: unknown parameter, or a signal that is not such a polynomial.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> [round(n, 2) for n in flux.signal(5.46e6).tolist()]  # events per bin at this flux
        [3.22, 5.15, 2.76]
    """
    quantity = find_parameter(parameter) if isinstance(parameter, str) else parameter
    scale = quantity.scale / 4
    units = np.array([0.0, 0.5, 1.0, 1.5, 2.5]) + quantity.lower / scale
    rows = [np.asarray(joint.signal(likelihood, quantity.theory(jnp.asarray(u * scale)))) for u in units]
    terms = np.linalg.solve(np.vander(units[:3], 3, increasing=True), np.stack(rows[:3]))
    largest = np.max(np.abs(rows))
    for u, row in zip(units[3:], rows[3:], strict=True):
        if np.max(np.abs(row - terms[0] - u * (terms[1] + u * terms[2]))) > _RELATIVE * largest:
            raise ValueError(
                f"the signal is not a polynomial of degree two in {quantity.name!r}: toys and projections need one; "
                "for the coupling of a mediator use coupling_hypothesis"
            )
    strength = np.max(np.abs(terms[[0, 2]])) < _RELATIVE * largest and quantity.lower == 0
    return Hypothesis(
        quantity.name,
        quantity.unit,
        as_morphing(likelihood),
        likelihood.nuisances,
        terms[1:2] if strength else terms,
        (1,) if strength else (0, 1, 2),
        scale,
        quantity.lower,
        quantity.lower + quantity.scale * np.linspace(0.0, 1.0, 33),
    )


def coupling_hypothesis(
    likelihood: Likelihood, theory: str | AbstractInteraction, mass: float = float("nan")
) -> Hypothesis:
    """The coupling of a mediator at fixed mass.

    Args:
        likelihood: the experiments.
        theory: name of an interaction, or a mediator whose coupling does not matter.
        mass: MeV, with a name.

    Raises:
        ValueError: unknown interaction, or a mass that is not one.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> coupling = jc.coupling_hypothesis(likelihood, "scalar", mass=10.0)
        >>> coupling.name, coupling.powers
        ('coupling of scalar', (0, 2, 4))
        >>> f"{coupling.scale:.2e}"  # where the new signal equals that of the Standard Model
        '8.04e-06'
    """
    mediator = interaction(theory, mass, 0.0) if isinstance(theory, str) else theory
    terms = np.asarray(coupling_terms(likelihood, mediator))
    scale = float(natural_coupling(terms))
    label = theory if isinstance(theory, str) else type(theory).__name__
    return Hypothesis(
        f"coupling of {label}",
        "",
        as_morphing(likelihood),
        likelihood.nuisances,
        terms * np.array([1.0, scale**2, scale**4])[:, None],
        (0, 2, 4),
        scale,
        0.0,
        scale * np.concatenate([[0.0], 10 ** np.linspace(-1.0, 0.6, 25)]),
    )
