"""The Standard Model: coherent scattering on nuclei, and scattering on electrons."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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

__all__ = [
    "NuclearCharge",
    "StandardModel",
    "bilinear_on_nuclei",
    "coherent_terms",
    "coherent_weights",
    "nuclear_amplitude",
    "weak_charge",
]


RADIATIVE_PROTON = {"e": 0.0382, "mu": 0.0300, "tau": 0.0256}
"""g_V^p with radiative corrections at low energy, by flavour (arXiv:2303.09360)."""

RADIATIVE_NEUTRON = -0.5117
"""g_V^n with radiative corrections (arXiv:2303.09360)."""


class NuclearCharge(NamedTuple):
    """Charge of a nucleus, as that of all its protons and that of all its neutrons."""

    proton: Any
    neutron: Any


def nuclear_amplitude(
    form_factor: AbstractFormFactor, charge: Any, q2: Float[Array, "*t"], nucleus: Nucleus
) -> Float[Array, "..."]:
    """F_p times the charge of the protons and F_n times that of the neutrons.

    A charge that does not tell them is spread over all nucleons.

    Args:
        form_factor: of the nucleus.
        charge: a number, or a `NuclearCharge`.
        q2: momentum transfer squared in MeV^2.
        nucleus: its numbers.
    """
    if not isinstance(charge, NuclearCharge):
        return charge * form_factor(q2, nucleus)
    if not form_factor.separate:
        return (charge.proton + charge.neutron) * form_factor(q2, nucleus)
    return charge.proton * form_factor.proton(q2, nucleus) + charge.neutron * form_factor.neutron(q2, nucleus)


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


def _coupling(nucleon: str) -> Any:
    return parameter(None, lower=-2.0, upper=2.0, label=f"$g_V^{nucleon}$", scale=0.1, prior="uniform:-2:2")


class StandardModel(Interaction):
    """Standard Model scattering on nuclei (eq. 1 of arXiv:2411.11749) and on electrons.

    Attributes:
        sin2w: sin^2(theta_W) at low energy.
        form_factor: F(q^2), Klein-Nystrand as in the paper.
        electron_couplings: of neutrinos to electrons, `radiative` (corrected, at low energy) or `tree`.
        nuclear_couplings: to nucleons, `tree` as in the paper, or `radiative`: g_V^p by flavour, and g_V^n.
        g_V_p: vector coupling of the proton for all flavours, a parameter where it is given: then sin2w acts on
            electrons alone.
        g_V_n: of the neutron; -1/2 at tree level.

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
    nuclear_couplings: str = eqx.field(static=True, default="tree")
    g_V_p: Float[Array, ""] | None = _coupling("p")
    g_V_n: Float[Array, ""] | None = _coupling("n")

    label = "standard-model"

    def __check_init__(self):
        for name in ("electron_couplings", "nuclear_couplings"):
            if getattr(self, name) not in ("radiative", "tree"):
                raise ValueError(f"{name} {getattr(self, name)!r} must be 'radiative' or 'tree'")

    def weights(self):
        """1, sin2w and its square: all charges are linear in it, and in couplings that are given."""
        return coherent_weights(self, [])

    def terms(self, recoil, particle, flavour):
        """Eq. 1 of arXiv:2411.11749; on electrons the couplings of `electrons.standard_charges`."""
        return coherent_terms(self, [], recoil, particle, flavour)

    def amplitudes(self) -> list[Float[Array, ""]]:
        """What `charges` are multiplied by: 1, sin2w, and the couplings that are given."""
        given = [coupling for coupling in (self.g_V_p, self.g_V_n) if coupling is not None]
        return [jnp.ones_like(self.sin2w), self.sin2w, *given]

    def charges(self, particle: Particle, flavour: str) -> list[tuple[Any, Any]]:
        """Vector and axial charge at sin2w = 0, their slope in sin2w, and in each coupling that is given."""
        given = [self.g_V_p is not None, self.g_V_n is not None]
        if isinstance(particle, Electron):
            own = electrons.standard_charges(flavour, self.electron_couplings == "radiative")
            return [*own, *((0.0, 0.0) for one in given if one)]
        proton, slope, neutron = self._nucleons(flavour)
        at_zero = NuclearCharge(0.0 if given[0] else proton * particle.Z, 0.0 if given[1] else neutron * particle.N)
        in_sin2w = NuclearCharge(0.0 if given[0] else slope * particle.Z, 0.0)
        each = (NuclearCharge(particle.Z, 0.0), NuclearCharge(0.0, particle.N))
        found = [at_zero, in_sin2w, *(charge for charge, one in zip(each, given, strict=True) if one)]
        return [(charge, 0.0) for charge in found]

    def nucleon_charges(self, flavour: str) -> tuple[Any, float, Any]:
        """g_V^p at sin2w = 0, its slope in sin2w, and g_V^n; those that are given instead, without a slope."""
        proton, slope, neutron = self._nucleons(flavour)
        if self.g_V_p is not None:
            proton, slope = self.g_V_p, 0.0
        return proton, slope, neutron if self.g_V_n is None else self.g_V_n

    def _nucleons(self, flavour: str) -> tuple[float, float, float]:
        if self.nuclear_couplings == "radiative":
            return RADIATIVE_PROTON[flavour.removeprefix("anti-")] + 2 * SIN2_THETA_W, -2.0, RADIATIVE_NEUTRON
        return 0.5, -2.0, -0.5


def coherent_weights(model: StandardModel, amplitudes: Sequence[Float[Array, ""]]) -> Float[Array, " term"]:
    """Products of two amplitudes: those of the Standard Model, then others that shift its charges."""
    every = [*model.amplitudes(), *amplitudes]
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
        shifts: of the vector and the axial charge, per amplitude; on nuclei the axial one is left out: axial currents
            interfere with each other alone after the spin sum, and that of the Standard Model is not built.
        recoil: MeV.
        particle: nucleus or electron.
        flavour: of the neutrino.
    """
    charges = [*model.charges(particle, flavour), *shifts]
    pairs = [(i, j) for i in range(len(charges)) for j in range(i, len(charges))]
    if isinstance(particle, Electron):
        found = [(1 if i == j else 2) * electrons.bilinear(recoil, charges[i], charges[j]) for i, j in pairs]
        return jnp.stack(found)
    return bilinear_on_nuclei(model.form_factor, [charge for charge, _ in charges], pairs, recoil, particle)


def bilinear_on_nuclei(
    form: AbstractFormFactor,
    charges: Sequence[Any],
    pairs: Sequence[tuple[int, int]],
    recoil: Float[Array, "*t"],
    nucleus: Nucleus,
) -> Float[Array, "pair 3 *t"]:
    """Eq. 1 of arXiv:2411.11749 with Q_V^2 replaced by products of charges, twice those of two different ones.

    Args:
        form: form factor.
        charges: numbers, or `NuclearCharge`.
        pairs: of charges.
        recoil: MeV.
        nucleus: its numbers.
    """
    q2 = 2 * nucleus.mass * recoil
    if form.separate:
        own = [nuclear_amplitude(form, charge, q2, nucleus) for charge in charges]
    else:
        own = [sum(charge) if isinstance(charge, NuclearCharge) else charge for charge in charges]
    # The Python float comes first: G_F^2 alone is fine in float32, but only just.
    common = (FERMI_CONSTANT**2 / jnp.pi) * nucleus.mass
    common = common * (jnp.ones_like(recoil) if form.separate else form(q2, nucleus) ** 2)
    unit = jnp.stack([common, -common * recoil, -common * recoil * (nucleus.mass / 2)])
    products = [(1 if i == j else 2) * own[i] * own[j] for i, j in pairs]
    return jnp.stack([unit * product for product in products])
