"""Cross sections on nuclei and electrons: what an interaction is, and the Standard Model one.

Inside this module energies are in MeV and cross sections in MeV^-3 (dsigma/dT in units of hbar c = 1).
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcevns.constants import FERMI_CONSTANT, SIN2_THETA_W
from jcevns.physics import electrons
from jcevns.physics.form_factors import AbstractFormFactor, KleinNystrand
from jcevns.physics.nuclei import Nucleus
from jcevns.precision import as_float_array

__all__ = [
    "AbstractInteraction",
    "AbstractInverseEnergyInteraction",
    "StandardModel",
    "maximum_recoil",
    "minimum_energy",
    "sm_energy_coefficients",
    "weak_charge",
]


def maximum_recoil(energy: Float[Array, "*e"], mass: Float[Array, "*m"]) -> Float[Array, "..."]:
    """Largest recoil energy 2 E^2/(m + 2 E), all in MeV."""
    return 2 * energy**2 / (mass + 2 * energy)


def minimum_energy(recoil: Float[Array, "*t"], mass: Float[Array, "*m"]) -> Float[Array, "..."]:
    """Smallest neutrino energy that gives `recoil`, all in MeV; its slope at recoil 0 is set to 1/2."""
    squared = recoil * (recoil + 2 * mass)
    positive = squared > 0
    return (recoil + jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)) / 2


def weak_charge(nucleus: Nucleus, sin2w: Float[Array, "*s"] | float) -> Float[Array, "..."]:
    """Q_V = g_V^p Z + g_V^n N at tree level (eq. 2 of arXiv:2411.11749)."""
    return (0.5 - 2 * sin2w) * nucleus.Z - 0.5 * nucleus.N


class AbstractInteraction(eqx.Module):
    """A neutrino-nucleus interaction: subclass it and write one method.

    What is scanned or differentiated (a mass, a coupling, sin2w) must be a scalar array leaf;
    everything else is static.

    Example:
        >>> import jcevns as jc
        >>> class Doubled(jc.AbstractInteraction):
        ...     def dsigma_dT(self, energy, recoil, nucleus):
        ...         return 2 * jc.StandardModel().dsigma_dT(energy, recoil, nucleus)
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), Doubled())
        >>> round(float(counts.sum()), 2)  # events
        22.26
    """

    @abc.abstractmethod
    def dsigma_dT(
        self, energy: Float[Array, "..."], recoil: Float[Array, "..."], nucleus: Nucleus
    ) -> Float[Array, "..."]:
        """Differential cross section in MeV^-3, Standard Model part included.

        Need not vanish beyond the kinematic edge: the recoil spectrum applies it.

        Args:
            energy: neutrino energy in MeV.
            recoil: nuclear recoil energy in MeV.
            nucleus: the target.
        """

    def electron_coefficients(self, recoil: Float[Array, "*t"], flavour: str) -> Float[Array, "3 *t"]:
        """Neutrino-electron scattering as coefficients of E^0, E^-1, E^-2; optional, for electron recoils.

        Args:
            recoil: recoil energies of a free electron in MeV.
            flavour: of the neutrino, from `jcevns.FLAVOURS`.

        Returns:
            MeV^-3, MeV^-2 and MeV^-1, shape (3, *recoil.shape).
        """
        raise TypeError(
            f"{type(self).__name__} says nothing about electrons: write its electron_coefficients(recoil, flavour) "
            "to use it with electron recoils"
        )

    def seen_by(self, flavour: str) -> "AbstractInteraction":
        """The interaction of one flavour with nuclei; itself where all flavours interact alike."""
        return self

    @property
    def flavour_blind(self) -> bool:
        """Whether all flavours interact alike with nuclei."""
        return True


class AbstractInverseEnergyInteraction(AbstractInteraction):
    """An interaction whose dsigma/dT is c0 + c1/E + c2/E^2: its energy integral is done exactly, once.

    Example:
        >>> import jcevns as jc
        >>> class Doubled(jc.AbstractInverseEnergyInteraction):
        ...     def energy_coefficients(self, recoil, nucleus):
        ...         return 2 * jc.StandardModel().energy_coefficients(recoil, nucleus)
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), Doubled())
        >>> round(float(counts.sum()), 2)  # events
        22.26
    """

    @abc.abstractmethod
    def energy_coefficients(self, recoil: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "3 *t"]:
        """Coefficients (c0, c1, c2) in MeV^-3, MeV^-2, MeV^-1 at recoil energies in MeV."""

    def dsigma_dT(self, energy, recoil, nucleus):
        """Differential cross section in MeV^-3, zero beyond the kinematic edge."""
        c0, c1, c2 = self.energy_coefficients(recoil, nucleus)
        value = c0 + c1 / energy + c2 / energy**2
        return jnp.where(recoil <= maximum_recoil(energy, nucleus.mass), value, 0.0)


def sm_energy_coefficients(
    recoil: Float[Array, "*t"],
    nucleus: Nucleus,
    sin2w: Float[Array, ""] | float,
    form_factor: AbstractFormFactor,
) -> Float[Array, "3 *t"]:
    """Standard Model CEvNS (eq. 1 of arXiv:2411.11749) as coefficients of E^0, E^-1, E^-2.

    Args:
        recoil: recoil energies in MeV.
        nucleus: the target.
        sin2w: sin^2(theta_W).
        form_factor: F(q^2).

    Returns:
        MeV^-3, MeV^-2 and MeV^-1, shape (3, *recoil.shape).
    """
    q2 = 2 * nucleus.mass * recoil
    # The Python float comes first: G_F^2 alone is fine in float32, but only just.
    strength = (FERMI_CONSTANT**2 / jnp.pi) * nucleus.mass
    common = strength * weak_charge(nucleus, sin2w) ** 2 * form_factor(q2, nucleus) ** 2
    return jnp.stack([common, -common * recoil, -common * recoil * (nucleus.mass / 2)])


class StandardModel(AbstractInverseEnergyInteraction):
    """Standard Model CEvNS.

    Attributes:
        sin2w: sin^2(theta_W) at low energy.
        form_factor: F(q^2), Klein-Nystrand as in the paper.
        electron_couplings: of neutrinos to electrons, `radiative` (corrected, at low energy) or `tree`.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> round(float(jc.signal_counts(xenonnt, jc.StandardModel(sin2w=0.25)).sum()), 2)  # events
        11.87
    """

    sin2w: Float[Array, ""] = eqx.field(converter=as_float_array, default=SIN2_THETA_W)
    form_factor: AbstractFormFactor = eqx.field(default_factory=KleinNystrand)
    electron_couplings: str = eqx.field(static=True, default="radiative")

    def __check_init__(self):
        if self.electron_couplings not in ("radiative", "tree"):
            raise ValueError(f"electron_couplings {self.electron_couplings!r} must be 'radiative' or 'tree'")

    def energy_coefficients(self, recoil, nucleus):
        """Eq. 1 of arXiv:2411.11749."""
        return sm_energy_coefficients(recoil, nucleus, self.sin2w, self.form_factor)

    def electron_coefficients(self, recoil, flavour):
        """Neutrino-electron scattering with the couplings of `electrons.standard_couplings`."""
        couplings = electrons.standard_couplings(self.sin2w, flavour, self.electron_couplings == "radiative")
        return electrons.bilinear(recoil, couplings, couplings)
