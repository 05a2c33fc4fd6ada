"""New neutrino interactions through a mediator (eqs. 5-10 of arXiv:2411.11749), with nuclei and with electrons.

Couplings are dimensionless, masses in MeV, cross sections in MeV^-3. Pseudoscalar exchange is suppressed by nuclear
spin and by T^2/E^2 and negligible.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.constants import ELECTRON_MASS, FERMI_CONSTANT, NEUTRON_MASS, PROTON_MASS
from jcevns.parameters import parameter
from jcevns.physics.electrons import Electron
from jcevns.physics.interaction import Particle
from jcevns.physics.kinetic_mixing import loop_charge
from jcevns.physics.new_physics import NewPhysics, flavour_charge
from jcevns.physics.nuclei import Nucleus
from jcevns.physics.potential import VectorPotential
from jcevns.physics.spin_structure import longitudinal_s00, transverse_s00
from jcevns.physics.standard_model import NuclearCharge, StandardModel, nuclear_amplitude
from jcevns.precision import as_float_array, optional_array

__all__ = ["AxialVectorMediator", "ScalarMediator", "TensorMediator", "VectorMediator", "propagator"]


def propagator(mass: Float[Array, ""], recoil: Float[Array, "*t"], particle: Particle) -> Float[Array, "*t"]:
    """P = m_a^2 + 2 m T in MeV^2, the denominator of every mediator."""
    return mass**2 + 2 * particle.mass * recoil


def _mass() -> Any:
    return parameter(10.0, unit="MeV", lower=0.0, label=r"$m$ [MeV]", prior="log-uniform:1e-2:1e4")


def _coupling(symbol: str) -> Any:
    return parameter(0.0, lower=0.0, label=f"${symbol}$", prior="log-uniform:1e-7:1e-2", null=0.0)


def _flavours() -> Any:
    return eqx.field(converter=optional_array, default=None)


class ScalarMediator(NewPhysics):
    """Scalar mediator (eqs. 5 and 9 of arXiv:2411.11749): it flips the neutrino's chirality and does not interfere.

    Attributes:
        mass: MeV.
        coupling: g_S.
        standard_model: what it is added to.
        f_p: quark mass fractions (f_Tu, f_Td) of the proton (arXiv:1506.04142).
        f_n: of the neutron.
        quark_masses: (m_u, m_d) in MeV.
        electron_form: of the cross section on electrons, `exact` or `literature` (without the factor
            1 + T/(2 m_e), which matters for recoils of MeV).
        flavours: charges of (nu_e, nu_mu, nu_tau) that multiply g^2; universal (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.ScalarMediator(mass=10.0, coupling=1e-5))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        37.76
    """

    mass: Float[Array, ""] = _mass()
    coupling: Float[Array, ""] = _coupling("g_S")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    electron_form: str = eqx.field(static=True, default="exact")
    f_p: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(0.0208, 0.0411))
    f_n: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(0.0189, 0.0451))
    quark_masses: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(2.2, 4.7))
    flavours: Float[Array, "3"] | None = _flavours()

    label = "scalar"

    def __check_init__(self):
        if self.electron_form not in ("exact", "literature"):
            raise ValueError(f"electron_form {self.electron_form!r} must be 'exact' or 'literature'")

    def charge(self, nucleus: Nucleus) -> Float[Array, "..."]:
        """C_S^2/g_S^2 (eq. 9), 2244.5 on xenon."""
        proton, neutron = self._nucleons(nucleus)
        return proton + neutron

    def _nucleons(self, nucleus: Nucleus) -> NuclearCharge:
        proton = PROTON_MASS * jnp.sum(self.f_p / self.quark_masses)
        neutron = NEUTRON_MASS * jnp.sum(self.f_n / self.quark_masses)
        return NuclearCharge(nucleus.Z * proton, nucleus.N * neutron)

    def strengths(self):
        """g^4."""
        return self.coupling[None] ** 4

    def additions(self, recoil, particle, flavour):
        """Eq. 5 per g_S^4, all of it in 1/E^2; on electrons m_e^2 T/(4 pi E^2 D^2) (1 + T/(2 m_e))."""
        denominator = propagator(self.mass, recoil, particle)
        if isinstance(particle, Electron):
            value = ELECTRON_MASS**2 * recoil / (4 * np.pi * denominator**2)
            if self.electron_form == "exact":
                value = value * (1 + recoil / (2 * ELECTRON_MASS))
        else:
            form, q2 = self.standard_model.form_factor, 2 * particle.mass * recoil
            if form.separate:
                amplitude = nuclear_amplitude(form, self._nucleons(particle), q2, particle) / denominator
            else:
                amplitude = self.charge(particle) / denominator * form(q2, particle)
            value = (particle.mass * amplitude) ** 2 * recoil / (4 * jnp.pi)
        value = value * flavour_charge(self.flavours, flavour) ** 2
        zero = jnp.zeros_like(value)
        return jnp.stack([zero, zero, value])[None]


def _shift(mass: Array, recoil: Array, particle: Particle) -> Array:
    """Shift of a charge per g^2 and unit charges: 1/(sqrt2 G_F P)."""
    return 1 / (np.sqrt(2.0).item() * FERMI_CONSTANT * propagator(mass, recoil, particle))


class VectorMediator(NewPhysics):
    """Vector mediator (eqs. 6 and 10 of arXiv:2411.11749), interfering with the Standard Model.

    Attributes:
        mass: MeV.
        coupling: g_V.
        standard_model: what it interferes with.
        kappa: charge of the quarks: 1 for universal couplings (destructive on xenon), -1/3 for B-L (constructive).
        up: charge of the up quark; kappa if absent.
        down: charge of the down quark; kappa if absent.
        electron: charge of the electron.
        flavours: charges of (nu_e, nu_mu, nu_tau); universal (1, 1, 1) if absent. Each multiplies g^2 together with
            the charge of what the neutrino scatters off.
        mixing: `none`, or `loop`: charged leptons with the charges L_i - L_j of the named neutrinos, which add up to
            zero, mix the boson with the photon and so lend charges to protons and electrons
            (`kinetic_mixing.loop_charge`).
        propagation: `standard`, neutrinos in the Sun and in the Earth feel nothing of it; `matter`, they feel its
            potential (`jcevns.physics.potential`), in sums with `Oscillations`.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.VectorMediator(mass=10.0, coupling=1e-5))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        8.06
    """

    mass: Float[Array, ""] = _mass()
    coupling: Float[Array, ""] = _coupling("g_V")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    kappa: Float[Array, ""] = parameter(1.0, label=r"$\kappa$")
    up: Float[Array, ""] | None = parameter(None, label="$Q_u$")
    down: Float[Array, ""] | None = parameter(None, label="$Q_d$")
    electron: Float[Array, ""] = parameter(1.0, label="$Q_e$")
    flavours: Float[Array, "3"] | None = _flavours()

    mixing: str = eqx.field(static=True, default="none")
    propagation: str = eqx.field(static=True, default="standard")

    label = "vector"

    def __check_init__(self):
        if self.mixing not in ("none", "loop"):
            raise ValueError(f"mixing {self.mixing!r} must be 'none' or 'loop'")
        if self.propagation not in ("matter", "standard"):
            raise ValueError(f"propagation {self.propagation!r} must be 'matter' or 'standard'")
        if self.mixing == "none" or isinstance(self.flavours, Tracer):
            return
        if self.flavours is None or abs(float(np.sum(np.asarray(self.flavours)))) > 1e-9:
            raise ValueError("mixing 'loop' needs flavours that add up to zero, as 0,1,-1: else the loop is infinite")

    def charge(self, particle: Particle) -> Float[Array, "..."]:
        """Of an electron, or of a nucleus: 3 A for universal couplings."""
        if isinstance(particle, Electron):
            return self.electron
        if self.up is None and self.down is None:
            return 3 * self.kappa * particle.A
        up, down = self._quarks()
        return up * (2 * particle.Z + particle.N) + down * (particle.Z + 2 * particle.N)

    def _quarks(self) -> tuple[Array, ...]:
        return tuple(self.kappa if q is None else q for q in (self.up, self.down))

    def _nucleons(self, nucleus: Nucleus) -> NuclearCharge:
        up, down = self._quarks()
        return NuclearCharge((2 * up + down) * nucleus.Z, (up + 2 * down) * nucleus.N)

    @property
    def bends(self) -> bool:
        """Whether neutrinos feel its potential."""
        return self.propagation == "matter"

    def potential(self):
        """Of its own charges: what a loop lends to protons and electrons cancels in neutral matter."""
        if not self.bends:
            return None
        up, down = self._quarks()
        flavours = jnp.ones(3) if self.flavours is None else self.flavours
        return VectorPotential(self.mass, self.coupling, flavours, self.electron + 2 * up + down, up + 2 * down)

    def amplitudes(self):
        """g^2."""
        return [self.coupling**2]

    def shifts(self, recoil, particle, flavour):
        """Q_V + g^2 Q_nu Q/(sqrt2 G_F P) replaces Q_V: written so, Q_V = 0 is no special point."""
        per_charge = _shift(self.mass, recoil, particle)
        neutrino = flavour_charge(self.flavours, flavour)
        loop = self.flavours if self.mixing == "loop" else None
        lent = None if loop is None else loop_charge(loop, 2 * particle.mass * recoil)
        if isinstance(particle, Electron):
            charge = self.charge(particle) if lent is None else self.charge(particle) - lent
        elif lent is None and not self.standard_model.form_factor.separate:
            charge = self.charge(particle)
        else:
            proton, neutron = self._nucleons(particle)
            proton = proton if lent is None else proton + lent * particle.Z
            return [(NuclearCharge(*(neutrino * q * per_charge for q in (proton, neutron))), 0.0)]
        return [(neutrino * charge * per_charge, 0.0)]


AXIAL_CHARGE = 0.842 - 0.427
"""Delta_u + Delta_d of the nucleon, u and d only (arXiv:2007.08529)."""

TENSOR_CHARGE = 0.58
"""delta_u + delta_d of the nucleon (lattice average used in arXiv:2007.08529)."""


class AxialVectorMediator(NewPhysics):
    """Axial-vector mediator (eq. 7 of arXiv:2411.11749) on nuclei with spin, added to the Standard Model.

    It interferes with the axial current of the Standard Model, on nuclei with spin too. There that current, which is
    small, is left out as in the paper, and with it the interference: limits on g_A move by less than 1%. On electrons
    both are there.

    Attributes:
        mass: MeV.
        coupling: g_A.
        standard_model: what it is added to.
        axial_charge: Delta_u + Delta_d (+ Delta_s, if a strange coupling is wanted), isoscalar.
        flavours: charges of (nu_e, nu_mu, nu_tau) that multiply g^2; universal (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.AxialVectorMediator(mass=10.0, coupling=1e-3))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        45.59
    """

    mass: Float[Array, ""] = _mass()
    coupling: Float[Array, ""] = _coupling("g_A")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    axial_charge: Float[Array, ""] = eqx.field(converter=as_float_array, default=AXIAL_CHARGE)
    flavours: Float[Array, "3"] | None = _flavours()

    label = "axial"

    def amplitudes(self):
        """g^2."""
        return [self.coupling**2]

    def shifts(self, recoil, particle, flavour):
        """Of g_A on electrons; none of the weak charge of nuclei."""
        if not isinstance(particle, Electron):
            return [(jnp.zeros_like(recoil), 0.0)]
        shift = flavour_charge(self.flavours, flavour) * _shift(self.mass, recoil, particle)
        return [(0.0, -shift if flavour.startswith("anti-") else shift)]

    def strengths(self):
        """g^4."""
        return self.coupling[None] ** 4

    def additions(self, recoil, particle, flavour):
        """Eq. 7 per g_A^4 on nuclei, with S~_T = (Delta_u + Delta_d)^2 S00_T."""
        if isinstance(particle, Electron):
            return jnp.zeros((1, 3, *recoil.shape), recoil.dtype)
        structure = self.axial_charge**2 * transverse_s00(2 * particle.mass * recoil, particle)
        common = 2 * particle.mass / (2 * particle.spin + 1) * structure
        common = common / propagator(self.mass, recoil, particle) ** 2 * flavour_charge(self.flavours, flavour) ** 2
        return jnp.stack([2 * common, -2 * recoil * common, particle.mass * recoil * common])[None]


class TensorMediator(NewPhysics):
    """Tensor mediator (eq. 8 of arXiv:2411.11749) on nuclei with spin: it flips chirality and does not interfere.

    Attributes:
        mass: MeV.
        coupling: g_T.
        standard_model: what it is added to.
        tensor_charge: delta_u + delta_d.
        normalisation: of nuclei and electrons alike. `trace` (default) follows from the explicit traces of
            g_T^2 (nu sigma P_L nu)(f sigma f)/(q^2 - m^2): on nuclei, where the paper does not fix it, S~_T =
            8 delta^2 S00_T and S~_L = 32 delta^2 S00_L. `naive` has delta^2 in both, and on electrons half of the
            trace, as commonly written; limits on g_T differ by 2.1 on nuclei, by 2^(1/4) on electrons.
        flavours: charges of (nu_e, nu_mu, nu_tau) that multiply g^2; universal (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.TensorMediator(mass=10.0, coupling=1e-3))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        207.18
    """

    mass: Float[Array, ""] = _mass()
    coupling: Float[Array, ""] = _coupling("g_T")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    tensor_charge: Float[Array, ""] = eqx.field(converter=as_float_array, default=TENSOR_CHARGE)
    normalisation: str = eqx.field(static=True, default="trace")
    flavours: Float[Array, "3"] | None = _flavours()

    label = "tensor"

    def __check_init__(self):
        if self.normalisation not in ("trace", "naive"):
            raise ValueError(f"tensor normalisation {self.normalisation!r} must be 'trace' or 'naive'")

    def strengths(self):
        """g^4."""
        return self.coupling[None] ** 4

    def additions(self, recoil, particle, flavour):
        """Eq. 8 per g_T^4; on electrons m_e/(pi D^2) [1 + 2 (1 - T/E) + (1 - T/E)^2 - m_e T/E^2]."""
        square = flavour_charge(self.flavours, flavour) ** 2 / propagator(self.mass, recoil, particle) ** 2
        if isinstance(particle, Electron):
            factor = 2.0 if self.normalisation == "trace" else 1.0
            common = factor * ELECTRON_MASS / (2 * np.pi) * square
            parts = [4 * common, -4 * recoil * common, recoil * common * (recoil - ELECTRON_MASS)]
            return jnp.stack(parts)[None]
        q2 = 2 * particle.mass * recoil
        factors = (8.0, 32.0) if self.normalisation == "trace" else (1.0, 1.0)
        common = particle.mass / (2 * particle.spin + 1) * square * self.tensor_charge**2
        transverse = common * factors[0] * transverse_s00(q2, particle)
        longitudinal = common * factors[1] * longitudinal_s00(q2, particle)
        total = 2 * transverse + longitudinal
        return jnp.stack([total, -recoil * total, -particle.mass * recoil * transverse])[None]
