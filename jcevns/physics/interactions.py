"""New neutrino interactions through a mediator (eqs. 5-10 of arXiv:2411.11749), with nuclei and with electrons.

Each cross section is a polynomial in the coupling: dsigma = dsigma_SM + g^2 (interference) + g^4 (quadratic).
The parts are what an interaction gives; everything else follows. Couplings are dimensionless, masses in
MeV, cross sections in MeV^-3. Pseudoscalar exchange is suppressed by nuclear spin and by T^2/E^2 and negligible.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import ELECTRON_MASS, FERMI_CONSTANT, NEUTRON_MASS, PROTON_MASS
from jcevns.physics.couplings import AbstractMediator, check_mediator, propagator
from jcevns.physics.cross_sections import StandardModel, weak_charge
from jcevns.physics.electrons import bilinear, electron_propagator, standard_couplings
from jcevns.physics.nuclei import Nucleus
from jcevns.physics.spin_structure import longitudinal_s00, transverse_s00
from jcevns.precision import as_float_array, optional_array
from jcevns.spelling import unknown

__all__ = [
    "INTERACTIONS",
    "AxialVectorMediator",
    "ScalarMediator",
    "TensorMediator",
    "VectorMediator",
    "interaction",
]


class ScalarMediator(AbstractMediator):
    """Scalar mediator (eqs. 5 and 9 of arXiv:2411.11749), added to the Standard Model without interference.

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

    mass: Float[Array, ""] = eqx.field(converter=as_float_array, default=10.0)
    coupling: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.0)
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    electron_form: str = eqx.field(static=True, default="exact")
    f_p: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(0.0208, 0.0411))
    f_n: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(0.0189, 0.0451))
    quark_masses: Float[Array, "2"] = eqx.field(converter=as_float_array, default=(2.2, 4.7))
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    def __check_init__(self):
        check_mediator(self)
        if self.electron_form not in ("exact", "literature"):
            raise ValueError(f"electron_form {self.electron_form!r} must be 'exact' or 'literature'")

    def charge(self, nucleus: Nucleus) -> Float[Array, "..."]:
        """C_S^2/g_S^2 (eq. 9), 2244.5 on xenon."""
        proton = PROTON_MASS * jnp.sum(self.f_p / self.quark_masses)
        neutron = NEUTRON_MASS * jnp.sum(self.f_n / self.quark_masses)
        return nucleus.Z * proton + nucleus.N * neutron

    def interference(self, recoil, nucleus):
        """None: a scalar flips the neutrino's chirality."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def quadratic(self, recoil, nucleus):
        """Eq. 5 per g_S^4: all of it goes as 1/E^2."""
        q2 = 2 * nucleus.mass * recoil
        ratio = self.charge(nucleus) / propagator(self.mass, recoil, nucleus)
        form = self.standard_model.form_factor(q2, nucleus)
        value = (nucleus.mass * ratio * form) ** 2 * recoil / (4 * jnp.pi)
        zero = jnp.zeros_like(value)
        return jnp.stack([zero, zero, value])

    def electron_interference(self, recoil, flavour):
        """None, as with nuclei."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def electron_quadratic(self, recoil, flavour):
        """m_e^2 T/(4 pi E^2 D^2), times 1 + T/(2 m_e) in the exact form."""
        value = ELECTRON_MASS**2 * recoil / (4 * np.pi * electron_propagator(self.mass, recoil) ** 2)
        if self.electron_form == "exact":
            value = value * (1 + recoil / (2 * ELECTRON_MASS))
        zero = jnp.zeros_like(value)
        return jnp.stack([zero, zero, value])


class VectorMediator(AbstractMediator):
    """Vector mediator (eqs. 6 and 10 of arXiv:2411.11749), interfering with the Standard Model.

    Attributes:
        mass: MeV.
        coupling: g_V.
        standard_model: what it interferes with.
        kappa: 1 for universal couplings (destructive on xenon), -1/3 for B-L (constructive).
        flavours: charges of (nu_e, nu_mu, nu_tau) that multiply g^2; universal (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.VectorMediator(mass=10.0, coupling=1e-5))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        8.06
    """

    mass: Float[Array, ""] = eqx.field(converter=as_float_array, default=10.0)
    coupling: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.0)
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    kappa: float = eqx.field(static=True, default=1.0)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    def __check_init__(self):
        check_mediator(self)

    def _parts(self, recoil, nucleus):
        """Standard Model coefficients per Q_V^2, Q_V, and the shift of Q_V per g^2."""
        # Q_V + kappa 3 A g^2/(sqrt2 G_F P) replaces Q_V: written so, Q_V = 0 is no special point.
        model, q2 = self.standard_model, 2 * nucleus.mass * recoil
        common = (FERMI_CONSTANT**2 / np.pi) * nucleus.mass * model.form_factor(q2, nucleus) ** 2
        unit = jnp.stack([common, -common * recoil, -common * recoil * (nucleus.mass / 2)])
        strength = 3 * self.kappa / (np.sqrt(2.0).item() * FERMI_CONSTANT)
        shift = strength * nucleus.A / propagator(self.mass, recoil, nucleus)
        return unit, weak_charge(nucleus, model.sin2w), shift

    def interference(self, recoil, nucleus):
        """2 Q_V x shift."""
        unit, charge, shift = self._parts(recoil, nucleus)
        return unit * (2 * charge * shift)

    def quadratic(self, recoil, nucleus):
        """The shift squared."""
        unit, _, shift = self._parts(recoil, nucleus)
        return unit * shift**2

    def electron_interference(self, recoil, flavour):
        """2 (g_V, g_A) x (shift, 0): the product of the charges is one, universal and B-L alike."""
        return 2 * _with_couplings(self, recoil, flavour, _shift(self, recoil, 0))

    def electron_quadratic(self, recoil, flavour):
        """The shift squared."""
        shift = _shift(self, recoil, 0)
        return bilinear(recoil, shift, shift)


def _shift(mediator: Any, recoil: Array, place: int, flavour: str = "") -> tuple[Array, Array]:
    """Shift of (g_V, g_A) on an electron per g^2, g^2/(sqrt2 G_F D) in one of them."""
    shift = 1 / (np.sqrt(2.0).item() * FERMI_CONSTANT * electron_propagator(mediator.mass, recoil))
    shift = -shift if flavour.startswith("anti-") else shift  # of g_A, where it is a neutrino's
    nothing = jnp.zeros_like(shift)
    return (shift, nothing) if place == 0 else (nothing, shift)


def _with_couplings(mediator: Any, recoil: Array, flavour: str, shift: tuple[Array, Array]) -> Array:
    model = mediator.standard_model
    standard = standard_couplings(model.sin2w, flavour, model.electron_couplings == "radiative")
    return bilinear(recoil, standard, shift)


AXIAL_CHARGE = 0.842 - 0.427
"""Delta_u + Delta_d of the nucleon, u and d only (arXiv:2007.08529)."""

TENSOR_CHARGE = 0.58
"""delta_u + delta_d of the nucleon (lattice average used in arXiv:2007.08529)."""


class AxialVectorMediator(AbstractMediator):
    """Axial-vector mediator (eq. 7 of arXiv:2411.11749) on nuclei with spin, added to the Standard Model.

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

    mass: Float[Array, ""] = eqx.field(converter=as_float_array, default=10.0)
    coupling: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.0)
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    axial_charge: Float[Array, ""] = eqx.field(converter=as_float_array, default=AXIAL_CHARGE)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    def __check_init__(self):
        check_mediator(self)

    def interference(self, recoil, nucleus):
        """None: it would need an interference of axial and vector nuclear currents, zero after the spin sum."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def quadratic(self, recoil, nucleus):
        """Eq. 7 per g_A^4, with S~_T = (Delta_u + Delta_d)^2 S00_T."""
        structure = self.axial_charge**2 * transverse_s00(2 * nucleus.mass * recoil, nucleus)
        common = 2 * nucleus.mass / (2 * nucleus.spin + 1) * structure
        common = common / propagator(self.mass, recoil, nucleus) ** 2
        return jnp.stack([2 * common, -2 * recoil * common, nucleus.mass * recoil * common])

    def electron_interference(self, recoil, flavour):
        """2 (g_V, g_A) x (0, shift)."""
        return 2 * _with_couplings(self, recoil, flavour, _shift(self, recoil, 1, flavour))

    def electron_quadratic(self, recoil, flavour):
        """The shift squared."""
        shift = _shift(self, recoil, 1, flavour)
        return bilinear(recoil, shift, shift)


class TensorMediator(AbstractMediator):
    """Tensor mediator (eq. 8 of arXiv:2411.11749) on nuclei with spin, added to the Standard Model.

    Attributes:
        mass: MeV.
        coupling: g_T.
        standard_model: what it is added to.
        tensor_charge: delta_u + delta_d.
        normalisation: of S~, which the paper does not fix: `trace` has S~_T = 8 delta^2 S00_T and S~_L =
            32 delta^2 S00_L from the explicit traces (default), `naive` has delta^2 in both; limits on g_T
            differ by 2.1.
        electron_form: of the cross section on electrons, `literature` (as commonly written) or `trace` (the full
            trace, twice as much).
        flavours: charges of (nu_e, nu_mu, nu_tau) that multiply g^2; universal (1, 1, 1) if absent.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.TensorMediator(mass=10.0, coupling=1e-3))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        207.18
    """

    mass: Float[Array, ""] = eqx.field(converter=as_float_array, default=10.0)
    coupling: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.0)
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    tensor_charge: Float[Array, ""] = eqx.field(converter=as_float_array, default=TENSOR_CHARGE)
    normalisation: str = eqx.field(static=True, default="trace")
    electron_form: str = eqx.field(static=True, default="literature")
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    def __check_init__(self):
        check_mediator(self)
        if self.normalisation not in ("trace", "naive"):
            raise ValueError(f"tensor normalisation {self.normalisation!r} must be 'trace' or 'naive'")
        if self.electron_form not in ("literature", "trace"):
            raise ValueError(f"electron_form {self.electron_form!r} must be 'literature' or 'trace'")

    def interference(self, recoil, nucleus):
        """None: a tensor current flips the neutrino's chirality."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def quadratic(self, recoil, nucleus):
        """Eq. 8 per g_T^4."""
        q2 = 2 * nucleus.mass * recoil
        factors = (8.0, 32.0) if self.normalisation == "trace" else (1.0, 1.0)
        common = nucleus.mass / (2 * nucleus.spin + 1) / propagator(self.mass, recoil, nucleus) ** 2
        transverse = common * self.tensor_charge**2 * factors[0] * transverse_s00(q2, nucleus)
        longitudinal = common * self.tensor_charge**2 * factors[1] * longitudinal_s00(q2, nucleus)
        total = 2 * transverse + longitudinal
        return jnp.stack([total, -recoil * total, -nucleus.mass * recoil * transverse])

    def electron_interference(self, recoil, flavour):
        """None, as with nuclei."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def electron_quadratic(self, recoil, flavour):
        """m_e/(2 pi D^2) [1 + 2 (1 - T/E) + (1 - T/E)^2 - m_e T/E^2], twice that with the full trace."""
        factor = 2.0 if self.electron_form == "trace" else 1.0
        common = factor * ELECTRON_MASS / (2 * np.pi * electron_propagator(self.mass, recoil) ** 2)
        return jnp.stack([4 * common, -4 * recoil * common, recoil * common * (recoil - ELECTRON_MASS)])


INTERACTIONS: Mapping[str, tuple[type[AbstractMediator], dict[str, Any]]] = {
    "scalar": (ScalarMediator, {}),
    "vector": (VectorMediator, {"kappa": 1.0}),
    "b-l": (VectorMediator, {"kappa": -1 / 3}),
    "axial": (AxialVectorMediator, {}),
    "tensor": (TensorMediator, {}),
}
"""The paper's interactions by name: class and static settings."""


def interaction(name: str, mass: Any = 10.0, coupling: Any = 0.0, **options: Any) -> AbstractMediator:
    """One of the paper's interactions by name.

    Args:
        name: a key of `INTERACTIONS`.
        mass: MeV.
        coupling: dimensionless.
        options: further fields of the class, such as `normalisation`.

    Raises:
        ValueError: unknown name.

    Example:
        >>> import jcevns as jc
        >>> theory = jc.interaction("b-l", mass=10.0, coupling=1e-5)
        >>> round(theory.kappa, 3)
        -0.333
        >>> round(float(jc.signal_counts(jc.experiment("xenonnt-2024-s2"), theory).sum()), 2)  # events
        12.27
    """
    if name not in INTERACTIONS:
        raise ValueError(unknown("interaction", name, INTERACTIONS))
    kind, settings = INTERACTIONS[name]
    return kind(mass=mass, coupling=coupling, **{**settings, **options})
