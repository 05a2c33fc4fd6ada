"""Electromagnetic properties of the neutrino: moments, charge radii, electric charges, a dipole to a heavy neutrino.

The photon couples to the charge of a target, +Z of a nucleus and -1 of an electron, and a vector current of the
neutrino interferes with the weak one. With F(q^2) = q_nu + q^2 <r^2>/6 in units of the proton's charge, q^2 = -2 m T,
the photon's amplitude beside the weak one, -(G_F/sqrt2) g_V, shifts (g_V^p on protons, g_V on electrons)

g_V^p -> g_V^p - Qt,  g_V -> g_V + Qt,  Qt = (2 sqrt2 pi alpha/G_F) F(q^2)/q^2

(arXiv:1810.05606 for the charge radius). Both signs follow from one exchange: like charges repel as
two protons do. For antineutrinos F and the weak vector current change sign together, so that Qt does not.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from jcevns.constants import CM2_PER_INVERSE_MEV2, ELECTRON_MASS, FERMI_CONSTANT, FINE_STRUCTURE
from jcevns.parameters import parameter
from jcevns.physics.electrons import Electron, bilinear
from jcevns.physics.flavour import ChargeMatrices
from jcevns.physics.interaction import Particle, minimum_energy
from jcevns.physics.new_physics import NewPhysics, flavour_charge
from jcevns.physics.oscillations import hermitian
from jcevns.physics.standard_model import NuclearCharge, StandardModel, bilinear_on_nuclei
from jcevns.precision import optional_array

__all__ = [
    "ChargeRadius",
    "DipolePortal",
    "MagneticMoment",
    "Millicharge",
    "effective_moment_squared",
    "photon_shift",
]

UNIT = 1e-12  # mu_B, and of the elementary charge
_RADIUS = 1e-32 / CM2_PER_INVERSE_MEV2  # MeV^-2
_PHOTON = 2 * np.sqrt(2.0).item() * np.pi * FINE_STRUCTURE / FERMI_CONSTANT  # MeV^2


def photon_shift(particle: Particle) -> Float[Array, ""] | float:
    """Shift of the charge in MeV^2 per F(q^2)/q^2 of the photon: of Q_V on a nucleus, of g_V on an electron."""
    return _PHOTON if isinstance(particle, Electron) else -_PHOTON * particle.Z


def _shifts(size: Any, particle: Particle, flavour: str) -> list[tuple[Any, Any]]:
    """A shift of the charge of protons, or of g_V of an electron, by what a family's own amplitude multiplies."""
    own = [flavour_charge(family, flavour) * size for family in np.eye(3)]
    return [(x if isinstance(particle, Electron) else NuclearCharge(x, 0.0), 0.0) for x in own]


def _check_squared(what: str, flavours: Array | None) -> None:
    if flavours is None or isinstance(flavours, Tracer):
        return
    if not np.all(np.asarray(flavours) >= 0):
        raise ValueError(
            f"{what}: flavours {np.asarray(flavours).tolist()} multiply squared moments, none may be negative"
        )


def _moment_squared(model: StandardModel, recoil: Array, particle: Particle) -> Array:
    """Pi alpha^2/m_e^2 per squared moment, times Z^2 F(q^2)^2 on a nucleus."""
    one = jnp.full_like(recoil, np.pi * (FINE_STRUCTURE * UNIT / ELECTRON_MASS) ** 2)
    if isinstance(particle, Electron):
        return one
    return one * (particle.Z * model.form_factor.proton(2 * particle.mass * recoil, particle)) ** 2


def effective_moment_squared(fractions: Float[Array, "*n 3"], moments: Complex[Array, "3 3"]) -> Float[Array, "*n"]:
    """Squared effective moment of neutrinos that arrive as an incoherent mixture of mass states, as from the Sun.

    mu_eff^2 = sum_k P_k sum_j |mu_jk|^2 (arXiv:hep-ph/9907383): the state in the end is not seen. For Majorana
    neutrinos the moments are antisymmetric in j and k, without a diagonal; for Dirac neutrinos any matrix. Divided by
    `MagneticMoment.moment` squared, it is what an energy has of it.

    Args:
        fractions: share P_k of each mass state, as from `jcevns.physics.mass_fractions`.
        moments: mu_jk of the mass states, final ones in rows.

    Returns:
        In the units of the moments, squared.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.physics import mass_fractions, nufit60, production_region
        >>> from jcevns.physics.electromagnetic import effective_moment_squared
        >>> shares = mass_fractions(jnp.array([0.4, 10.0]), production_region("b8"), nufit60())
        >>> moments = jnp.zeros((3, 3), complex).at[0, 1].set(1.0).at[1, 0].set(-1.0)  # mu_12 alone
        >>> [round(float(x), 2) for x in effective_moment_squared(shares, moments)]  # P_1 + P_2
        [0.98, 0.98]
    """
    return fractions @ jnp.sum(moments.real**2 + moments.imag**2, axis=0)


class MagneticMoment(NewPhysics):
    """Neutrino magnetic moment: photon exchange that flips the neutrino's chirality, without interference.

    pi alpha^2/m_e^2 (1/T - 1/E) (mu/mu_B)^2 on an electron, times Z^2 F(q^2)^2 on a nucleus
    (Vogel and Engel, PRD 39, 3378).

    Attributes:
        moment: effective moment in 1e-12 mu_B, the same for all flavours unless charges say otherwise.
        standard_model: what it is added to.
        flavours: factors of the squared moment for (nu_e, nu_mu, nu_tau), not negative; (1, 1, 1) if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> recoil, target = jnp.array([2.0]), jc.physics.xenon_electrons()  # keV
        >>> flux = jc.physics.solar()
        >>> new, old = (jc.physics.recoil_spectrum(jc.MagneticMoment(m), flux, target, recoil) for m in (10.0, 0.0))
        >>> round(float(new[0] / old[0]), 2)  # a moment of 1e-11 mu_B at 2 keV
        2.95
    """

    moment: Float[Array, ""] = parameter(
        0.0,
        unit="1e-12 mu_B",
        lower=0.0,
        label=r"$\mu_\nu$ [$10^{-12}\mu_B$]",
        null=0.0,
        note="effective moment of the neutrinos of the source, the same for all flavours unless told otherwise",
    )
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    label = "magnetic-moment"

    def __check_init__(self):
        _check_squared("magnetic moment", self.flavours)

    def strengths(self):
        """The squared moment."""
        return self.moment[None] ** 2

    def additions(self, recoil, particle, flavour):
        """All there is, per squared moment: coherent on the protons of a nucleus."""
        one = _moment_squared(self.standard_model, recoil, particle) * flavour_charge(self.flavours, flavour)
        return jnp.stack([one / recoil, -one, jnp.zeros_like(one)])[None]


def _radius(flavour: str) -> Any:
    symbol = rf"$\langle r^2_{{{flavour}}}\rangle$ [$10^{{-32}}$ cm$^2$]"
    return parameter(0.0, unit="1e-32 cm^2", label=symbol, null=0.0, scale=5.0, prior="uniform:-200:200")


class ChargeRadius(NewPhysics):
    """Charge radii of the neutrinos: shifts of the vector charges by flavour, interfering with the Standard Model.

    Qt = sqrt2 pi alpha <r^2>/(3 G_F), 0.0238 per 1e-32 cm^2: g_V^p -> g_V^p - Qt on protons, g_V -> g_V + Qt on
    electrons (arXiv:1810.05606). On both it is a shift of sin2w by Qt/2 for one flavour. At tree level these are
    the total radii, those of the Standard Model included; its radiative couplings hold the latter already.

    A transition radius turns one flavour into another. With neutrinos that are incoherent in flavour it adds the
    square of its shift; where flavours are calculated (`jcevns.physics.propagation`) all radii are one matrix.

    Publications that shift sin2w by Qt on electrons (Vogel and Engel, PRD 39, 3378, and reactor experiments after it)
    quote half of these radii.

    Attributes:
        r2_ee: squared charge radius of nu_e in 1e-32 cm^2.
        r2_mumu: of nu_mu.
        r2_tautau: of nu_tau.
        r2_emu: transition radius of nu_e and nu_mu, real.
        r2_etau: of nu_e and nu_tau.
        r2_mutau: of nu_mu and nu_tau.
        standard_model: what it is added to.

    Example:
        >>> import jcevns as jc
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), jc.ChargeRadius(r2_ee=10.0))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        14.01
    """

    r2_ee: Float[Array, ""] = _radius("{ee}")
    r2_mumu: Float[Array, ""] = _radius(r"{\mu\mu}")
    r2_tautau: Float[Array, ""] = _radius(r"{\tau\tau}")
    r2_emu: Float[Array, ""] = _radius(r"{e\mu}")
    r2_etau: Float[Array, ""] = _radius(r"{e\tau}")
    r2_mutau: Float[Array, ""] = _radius(r"{\mu\tau}")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)

    label = "charge-radius"

    def amplitudes(self):
        """The squared radii."""
        return [self.r2_ee, self.r2_mumu, self.r2_tautau]

    def shifts(self, recoil, particle, flavour):
        """Constant in the recoil energy: F(q^2)/q^2 is <r^2>/6."""
        return _shifts(photon_shift(particle) * (_RADIUS / 6), particle, flavour)

    def strengths(self):
        """The squared transition radii."""
        return jnp.stack([self.r2_emu, self.r2_etau, self.r2_mutau]) ** 2

    def additions(self, recoil, particle, flavour):
        """The square of the shift by a transition radius, for the two flavours that it belongs to."""
        size = photon_shift(particle) * (_RADIUS / 6)
        if isinstance(particle, Electron):
            one = bilinear(recoil, (size, 0.0), (size, 0.0))
        else:
            form = self.standard_model.form_factor
            one = bilinear_on_nuclei(form, [NuclearCharge(size, 0.0)], [(0, 0)], recoil, particle)[0]
        pairs = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        return jnp.stack([one * flavour_charge(pair, flavour) for pair in pairs])

    def charge_matrices(self):
        """All radii as one matrix, Qt; the same for electrons with the opposite sign."""
        r2 = hermitian(self.r2_ee, self.r2_mumu, self.r2_tautau, self.r2_emu, self.r2_etau, self.r2_mutau)
        shift = float(_PHOTON * _RADIUS / 6) * r2
        zero = jnp.zeros_like(shift)
        return ChargeMatrices(-shift, zero, shift, zero)


def _charge(flavour: str) -> Any:
    return parameter(0.0, unit="1e-12 e", label=rf"$q_{{{flavour}}}$ [$10^{{-12}}e$]", null=0.0)


class Millicharge(NewPhysics):
    """Electric charges of the neutrinos: photon exchange that interferes with the Standard Model.

    Qt = 2 sqrt2 pi alpha q/(G_F q^2) with q^2 = -2 m T: Q_V grows by 2 sqrt2 pi alpha q Z/(2 m T G_F) on a nucleus,
    g_V falls by as much per unit charge on an electron. A positive charge so lowers the rate on nuclei at first,
    where Q_V is negative, and on electrons that of nu_e, with g_V positive; squared it always adds, as 1/T^2
    (arXiv:2205.09484).

    Attributes:
        q_ee: charge of nu_e in 1e-12 of the proton's; its antineutrino has the opposite one.
        q_mumu: of nu_mu.
        q_tautau: of nu_tau.
        standard_model: what it is added to.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> recoil, target = jnp.array([2.0]), jc.physics.xenon_electrons()  # keV
        >>> flux = jc.physics.solar()
        >>> new, old = (jc.physics.recoil_spectrum(jc.Millicharge(q), flux, target, recoil) for q in (0.5, 0.0))
        >>> round(float(new[0] / old[0]), 2)  # 5e-13 e at 2 keV: interference
        0.46
    """

    q_ee: Float[Array, ""] = _charge("{ee}")
    q_mumu: Float[Array, ""] = _charge(r"{\mu\mu}")
    q_tautau: Float[Array, ""] = _charge(r"{\tau\tau}")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)

    label = "millicharge"

    def amplitudes(self):
        """The charges."""
        return [self.q_ee, self.q_mumu, self.q_tautau]

    def shifts(self, recoil, particle, flavour):
        """F(q^2)/q^2 is -q/(2 m T)."""
        return _shifts(-photon_shift(particle) * UNIT / (2 * particle.mass * recoil), particle, flavour)


class DipolePortal(NewPhysics):
    """Transition moment to a heavy neutrino, which is produced: upscattering by photon exchange, no interference.

    pi alpha^2/m_e^2 (mu/mu_B)^2 [1/T - 1/E - m4^2/(2 E T M) (1 - T/(2 E) + M/(2 E)) + m4^4 (T - M)/(8 E^2 T^2 M^2)]
    on an electron of mass M, times Z^2 F(q^2)^2 on a nucleus, above E_min (1 + m4^2/(2 M T)) with E_min of elastic
    scattering (arXiv:2406.07477). The magnetic moment where the heavy neutrino has no mass.

    Attributes:
        mass: of the heavy neutrino in MeV.
        moment: transition moment in 1e-12 mu_B, the same for all flavours unless charges say otherwise.
        standard_model: what it is added to.
        flavours: factors of the squared moment for (nu_e, nu_mu, nu_tau), not negative; (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.DipolePortal(mass=3.0, moment=1000.0))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        19.19
    """

    mass: Float[Array, ""] = parameter(1.0, unit="MeV", lower=0.0, label="$m_4$ [MeV]", prior="log-uniform:1e-3:1e2")
    moment: Float[Array, ""] = parameter(
        0.0, unit="1e-12 mu_B", lower=0.0, label=r"$\mu_{\nu N}$ [$10^{-12}\mu_B$]", null=0.0
    )
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    label = "dipole-portal"

    def __check_init__(self):
        _check_squared("dipole portal", self.flavours)

    def minimum_energy(self, recoil, particle):
        """That of elastic scattering times 1 + m4^2/(2 M T)."""
        return minimum_energy(recoil, particle.mass) * (1 + self.mass**2 / (2 * particle.mass * recoil))

    def strengths(self):
        """The squared moment."""
        return self.moment[None] ** 2

    def additions(self, recoil, particle, flavour):
        """All there is, per squared moment: coherent on the protons of a nucleus."""
        unit = _moment_squared(self.standard_model, recoil, particle) * flavour_charge(self.flavours, flavour)
        excess = self.mass**2 / (2 * particle.mass * recoil)
        second = excess * (recoil - particle.mass) / 2 * (1 + excess)
        return jnp.stack([unit / recoil, -unit * (1 + excess), unit * second])[None]
