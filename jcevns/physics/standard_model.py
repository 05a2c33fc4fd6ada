"""The Standard Model: coherent scattering on nuclei, and scattering on electrons."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcevns.constants import FERMI_CONSTANT, SIN2_THETA_W
from jcevns.parameters import parameter
from jcevns.physics import electrons
from jcevns.physics.electrons import Electron
from jcevns.physics.form_factors import AbstractFormFactor, KleinNystrand
from jcevns.physics.interaction import Interaction, Particle
from jcevns.physics.nuclei import Nucleus, Target, mirror_sin2w

__all__ = ["StandardModel", "coherent_terms", "coherent_weights", "weak_charge"]


def weak_charge(nucleus: Nucleus, sin2w: Float[Array, "*s"] | float) -> Float[Array, "..."]:
    """Q_V = g_V^p Z + g_V^n N at tree level (eq. 2 of arXiv:2411.11749)."""
    return (0.5 - 2 * sin2w) * nucleus.Z - 0.5 * nucleus.N


def _above_mirror(targets: Sequence[Any]) -> dict[str, Any]:
    """On nuclei alone the rate is even in Q_V: every point below the mirror point has a twin above."""
    if not targets or not all(isinstance(target, Target) for target in targets):
        return {}
    lowest = min(mirror_sin2w(target) for target in targets)
    return {
        "lower": lowest,
        "prior": f"uniform:{lowest:.6g}:{SIN2_THETA_W + 1:g}",
        "note": f"on the branch above the mirror point {lowest:.3f}, where the weak charge of the target vanishes: "
        "every value below has a twin above with the same chi2",
    }


class StandardModel(Interaction):
    """Standard Model scattering on nuclei (eq. 1 of arXiv:2411.11749) and on electrons.

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

    sin2w: Float[Array, ""] = parameter(
        SIN2_THETA_W, label=r"$\sin^2\theta_W$", scale=0.1, prior="uniform:-1:1.23857", adapt=_above_mirror
    )
    form_factor: AbstractFormFactor = eqx.field(default_factory=KleinNystrand)
    electron_couplings: str = eqx.field(static=True, default="radiative")

    label = "standard-model"

    def __check_init__(self):
        if self.electron_couplings not in ("radiative", "tree"):
            raise ValueError(f"electron_couplings {self.electron_couplings!r} must be 'radiative' or 'tree'")

    def weights(self):
        """1, sin2w and its square: all charges are linear in it."""
        return coherent_weights(self, [])

    def terms(self, recoil, particle, flavour):
        """Eq. 1 of arXiv:2411.11749; on electrons the couplings of `electrons.standard_charges`."""
        return coherent_terms(self, [], recoil, particle, flavour)

    def charges(self, particle: Particle, flavour: str) -> list[tuple[Any, Any]]:
        """Vector and axial charge at sin2w = 0, and their slope in sin2w."""
        if isinstance(particle, Electron):
            return list(electrons.standard_charges(flavour, self.electron_couplings == "radiative"))
        at_zero = weak_charge(particle, 0.0)
        return [(at_zero, 0.0), (-2 * particle.Z, 0.0)]


def coherent_weights(model: StandardModel, amplitudes: Sequence[Float[Array, ""]]) -> Float[Array, " term"]:
    """Products of two amplitudes: those of the Standard Model, 1 and sin2w, then others that shift its charges."""
    every = [jnp.ones_like(model.sin2w), model.sin2w, *amplitudes]
    return jnp.stack([every[i] * every[j] for i in range(len(every)) for j in range(i, len(every))])


def coherent_terms(
    model: StandardModel,
    shifts: Sequence[tuple[Any, Any]],
    recoil: Float[Array, "*t"],
    particle: Particle,
    flavour: str,
) -> Float[Array, "term 3 *t"]:
    """Terms of `coherent_weights`.

    Args:
        model: the Standard Model.
        shifts: of the vector and the axial charge, per amplitude; on nuclei the axial one is left out, it does not
            interfere with the vector current after the spin sum.
        recoil: MeV.
        particle: nucleus or electron.
        flavour: of the neutrino.
    """
    charges = [*model.charges(particle, flavour), *shifts]
    pairs = [(i, j) for i in range(len(charges)) for j in range(i, len(charges))]
    if isinstance(particle, Electron):
        found = [(1 if i == j else 2) * electrons.bilinear(recoil, charges[i], charges[j]) for i, j in pairs]
        return jnp.stack(found)
    # The Python float comes first: G_F^2 alone is fine in float32, but only just.
    strength = (FERMI_CONSTANT**2 / jnp.pi) * particle.mass
    common = strength * model.form_factor(2 * particle.mass * recoil, particle) ** 2
    unit = jnp.stack([common, -common * recoil, -common * recoil * (particle.mass / 2)])
    products = [(1 if i == j else 2) * charges[i][0] * charges[j][0] for i, j in pairs]
    return jnp.stack([unit * product for product in products])
