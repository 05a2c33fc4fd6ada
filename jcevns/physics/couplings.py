"""What a new interaction is: parts of its cross section in powers of the coupling, with nuclei and with electrons.

dsigma = dsigma_SM + g^2 (interference) + g^4 (quadratic), where g^2 is multiplied by the charge of the flavour.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.physics.cross_sections import AbstractInverseEnergyInteraction, StandardModel
from jcevns.physics.nuclei import Nucleus

__all__ = [
    "AbstractCoupled",
    "AbstractMediator",
    "CouplingTerms",
    "check_mediator",
    "propagator",
]


def check_mediator(mediator: Any) -> None:
    """Mass and coupling must be finite and not negative; nothing is said about tracers."""
    for name, symbol in (("mass", "mediator mass in MeV"), ("coupling", "coupling")):
        value = getattr(mediator, name)
        try:
            values = np.asarray(value)
        except Exception:  # a tracer has no value to check
            return
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ValueError(f"{symbol} {values!s} must be finite and not negative")


def propagator(mass: Float[Array, ""], recoil: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "*t"]:
    """P = m_a^2 + 2 m_N T in MeV^2, the denominator of every mediator."""
    return mass**2 + 2 * nucleus.mass * recoil


class AbstractCoupled(AbstractInverseEnergyInteraction):
    """An interaction whose strength is a polynomial in g^2 on top of the Standard Model.

    Attributes:
        coupling: g.
        standard_model: what it is added to.
        flavours: charges of (nu_e, nu_mu, nu_tau): g^2 is multiplied by the charge of the neutrino's flavour.
            Absent (universal couplings) by default.
    """

    coupling: eqx.AbstractVar[Float[Array, ""]]
    standard_model: eqx.AbstractVar[StandardModel]
    flavours = None

    @abc.abstractmethod
    def interference(self, recoil: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "3 *t"]:
        """Coefficients of E^0, E^-1, E^-2 of the term in g^2, per g^2."""

    @abc.abstractmethod
    def quadratic(self, recoil: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "3 *t"]:
        """Coefficients of E^0, E^-1, E^-2 of the term in g^4, per g^4."""

    def electron_interference(self, recoil: Float[Array, "*t"], flavour: str) -> Float[Array, "3 *t"]:
        """The same with electrons, per g^2; optional."""
        return AbstractInverseEnergyInteraction.electron_coefficients(self, recoil, flavour)

    def electron_quadratic(self, recoil: Float[Array, "*t"], flavour: str) -> Float[Array, "3 *t"]:
        """The same with electrons, per g^4; optional."""
        return AbstractInverseEnergyInteraction.electron_coefficients(self, recoil, flavour)

    @property
    def flavour_blind(self):
        """Whether all flavours have the same charge."""
        return self.flavours is None

    def flavour_charge(self, flavour: str) -> Float[Array, ""]:
        """Charge of a flavour, or of its antineutrino."""
        index = ("e", "mu", "tau").index(flavour.removeprefix("anti-"))
        return jnp.ones(()) if self.flavours is None else jnp.asarray(self.flavours)[index]

    def seen_by(self, flavour):
        """The interaction of one flavour with nuclei."""
        return CouplingTerms(self, flavour)

    def energy_coefficients(self, recoil, nucleus):
        """Standard Model plus both terms, for a charge of one."""
        return _polynomial(self.coupling**2, self.nuclear_parts(recoil, nucleus))

    def electron_coefficients(self, recoil, flavour):
        """Standard Model plus both terms, for the charge of this flavour."""
        return _polynomial(self.coupling**2 * self.flavour_charge(flavour), self.electron_parts(recoil, flavour))

    def nuclear_parts(self, recoil: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "3 3 *t"]:
        """Coefficients of the terms in g^0, g^2, g^4, for a charge of one."""
        standard = self.standard_model.energy_coefficients(recoil, nucleus)
        return jnp.stack([standard, self.interference(recoil, nucleus), self.quadratic(recoil, nucleus)])

    def electron_parts(self, recoil: Float[Array, "*t"], flavour: str) -> Float[Array, "3 3 *t"]:
        """The same with electrons."""
        standard = self.standard_model.electron_coefficients(recoil, flavour)
        new = self.electron_interference(recoil, flavour), self.electron_quadratic(recoil, flavour)
        return jnp.stack([standard, *new])


def _polynomial(squared: Float[Array, ""], parts: Float[Array, "3 3 *t"]) -> Float[Array, "3 *t"]:
    return parts[0] + squared * (parts[1] + squared * parts[2])


class CouplingTerms(AbstractInverseEnergyInteraction):
    """Some of the terms of an interaction in g^0, g^2, g^4, seen by a flavour: not a cross section by itself.

    Attributes:
        whole: the interaction.
        flavour: whose charge multiplies the coupling; empty for a charge of one.
        power: the only term there is, of g^(2 power), per unit coupling; None for all of them.
    """

    whole: AbstractCoupled
    flavour: str = eqx.field(static=True, default="")
    power: int | None = eqx.field(static=True, default=None)

    @property
    def flavour_blind(self):
        """As the interaction itself, until a flavour is chosen."""
        return bool(self.flavour) or self.whole.flavour_blind

    def seen_by(self, flavour):
        """The same terms for one flavour."""
        return CouplingTerms(self.whole, flavour, self.power)

    def _chosen(self, parts, flavour):
        charge = self.whole.flavour_charge(flavour) if flavour else jnp.ones(())
        if self.power is None:
            return _polynomial(self.whole.coupling**2 * charge, parts)
        return parts[self.power] * charge**self.power

    def energy_coefficients(self, recoil, nucleus):
        """The chosen terms."""
        return self._chosen(self.whole.nuclear_parts(recoil, nucleus), self.flavour)

    def electron_coefficients(self, recoil, flavour):
        """The chosen terms."""
        return self._chosen(self.whole.electron_parts(recoil, flavour), flavour)


class AbstractMediator(AbstractCoupled):
    """An interaction through a mediator, a polynomial in g^2 on top of the Standard Model.

    Attributes:
        mass: mediator mass in MeV.
        coupling: g, dimensionless, the geometric mean of the couplings to neutrinos and to quarks (or electrons).
        standard_model: what it is added to.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> class Contact(jc.AbstractMediator):
        ...     mass: jax.Array
        ...     coupling: jax.Array
        ...     standard_model: jc.StandardModel
        ...
        ...     def interference(self, recoil, nucleus):
        ...         return 0 * self.quadratic(recoil, nucleus)
        ...
        ...     def quadratic(self, recoil, nucleus):
        ...         return self.standard_model.energy_coefficients(recoil, nucleus) / self.mass**4
        >>> contact = Contact(jax.numpy.asarray(1.0), jax.numpy.asarray(1.0), jc.StandardModel())
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), contact)
        >>> round(float(counts.sum()), 2)  # events, twice those of the Standard Model
        22.26
    """

    mass: eqx.AbstractVar[Float[Array, ""]]
