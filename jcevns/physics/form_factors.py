"""Nuclear form factors F(q^2), normalised to F(0) = 1.

All take q^2 rather than q: q = sqrt(2 m_N T) has an infinite slope at T = 0, F(q^2) does not.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcevns.constants import HBAR_C
from jcevns.parameters import parameter
from jcevns.physics.nuclei import Nucleus

__all__ = [
    "PROTON_RADII",
    "AbstractFormFactor",
    "Helm",
    "KleinNystrand",
    "SymmetrisedFermi",
    "TwoRadii",
    "spherical_j1_over_x",
]

_SERIES_BELOW = 0.25  # in x^2; the series below is then good to float64 rounding


def spherical_j1_over_x(x2: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """j1(x)/x as a function of x^2, smooth at zero where it is 1/3.

    The textbook form sin(x)/x^3 - cos(x)/x^2 loses all digits, and its gradient is NaN, at x = 0.

    Args:
        x2: x squared, dimensionless, any shape.
    """
    small = x2 < _SERIES_BELOW
    # Both branches of `where` are differentiated, so the large one must stay away from zero.
    safe = jnp.where(small, 1.0, x2)
    x = jnp.sqrt(safe)
    large = (jnp.sin(x) / x - jnp.cos(x)) / safe
    y = jnp.where(small, x2, 0.0)
    series = (1 - y / 10 * (1 - y / 28 * (1 - y / 54 * (1 - y / 88 * (1 - y / 130 * (1 - y / 180)))))) / 3
    return jnp.where(small, series, large)


def _x_over_sinh(x2: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x/sinh(x) as a function of x^2, 1 at zero."""
    small = x2 < _SERIES_BELOW
    x = jnp.sqrt(jnp.where(small, 1.0, x2))
    y = jnp.where(small, x2, 0.0)
    series = 1 / (1 + y / 6 * (1 + y / 20 * (1 + y / 42 * (1 + y / 72 * (1 + y / 110)))))
    return jnp.where(small, series, 2 * x * jnp.exp(-x) / -jnp.expm1(-2 * x))


class AbstractFormFactor(eqx.Module):
    """A form factor: call it with q^2 in MeV^2 and a nucleus.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> class Pointlike(jc.physics.AbstractFormFactor):
        ...     def __call__(self, q2, nucleus):
        ...         return jnp.ones_like(q2)
        >>> model = jc.StandardModel(form_factor=Pointlike())
        >>> events = jc.physics.counts_above(model, jc.physics.b8(), jc.physics.xenon(), jnp.array([1.0]))
        >>> round(float(events[0]), 1)  # events per tonne-year above 1 keV
        102.4
    """

    @abc.abstractmethod
    def __call__(self, q2: Float[Array, "*shape"], nucleus: Nucleus) -> Float[Array, "*shape"]:
        """F(q^2), dimensionless, for q^2 in MeV^2."""

    @property
    def separate(self) -> bool:
        """Whether protons and neutrons have form factors of their own; if so, a call gives that of all nucleons."""
        own, base = type(self), AbstractFormFactor
        return own.proton is not base.proton or own.neutron is not base.neutron

    def proton(self, q2: Float[Array, "*shape"], nucleus: Nucleus) -> Float[Array, "*shape"]:
        """F_p(q^2) of the protons; by default that of all nucleons."""
        return self(q2, nucleus)

    def neutron(self, q2: Float[Array, "*shape"], nucleus: Nucleus) -> Float[Array, "*shape"]:
        """F_n(q^2) of the neutrons; by default that of all nucleons."""
        return self(q2, nucleus)


PROTON_RADII = {(55, 133): 4.821, (53, 127): 4.766}
"""Root-mean-square radius of the protons in fm by (Z, A), from muonic atoms (arXiv:2303.09360)."""


def _radius(symbol: str) -> Any:
    return parameter(None, unit="fm", lower=2.0, upper=12.0, label=f"${symbol}$ [fm]", scale=0.2)


class TwoRadii(AbstractFormFactor):
    """One shape for protons and neutrons, whose root-mean-square radii are inputs where they are given."""

    R_n: eqx.AbstractVar[Float[Array, ""] | None]
    R_p: eqx.AbstractVar[Float[Array, ""] | None]

    @abc.abstractmethod
    def shape(self, q2: Float[Array, "*shape"], radius2: Any) -> Float[Array, "*shape"]:
        """F for q^2 in fm^-2 and the squared radius of the hard sphere in it, in fm^2."""

    @abc.abstractmethod
    def usual(self, nucleus: Nucleus) -> Float[Array, "..."]:
        """Squared radius of the hard sphere where none is given, in fm^2."""

    @abc.abstractmethod
    def sphere(self, radius: Any) -> Any:
        """The same of a root-mean-square radius in fm."""

    @property
    def separate(self) -> bool:
        """Whether a radius is given."""
        return self.R_n is not None or self.R_p is not None

    def __call__(self, q2, nucleus):
        """Of all nucleons: (Z F_p + N F_n)/A."""
        if not self.separate:
            return self.shape(q2 / HBAR_C**2, self.usual(nucleus))
        protons, neutrons = nucleus.Z * self.proton(q2, nucleus), nucleus.N * self.neutron(q2, nucleus)
        return (protons + neutrons) / nucleus.A

    def proton(self, q2, nucleus):
        """With R_p; if only R_n is given, with the measured radius of `PROTON_RADII`, where there is one."""
        if self.R_p is not None:
            return self.shape(q2 / HBAR_C**2, self.sphere(self.R_p))
        radius2 = self.usual(nucleus)
        if self.R_n is not None:
            for (Z, A), radius in PROTON_RADII.items():
                radius2 = jnp.where((nucleus.Z == Z) & (nucleus.A == A), self.sphere(radius), radius2)
        return self.shape(q2 / HBAR_C**2, radius2)

    def neutron(self, q2, nucleus):
        """With R_n, if it is given."""
        radius2 = self.usual(nucleus) if self.R_n is None else self.sphere(self.R_n)
        return self.shape(q2 / HBAR_C**2, radius2)


class KleinNystrand(TwoRadii):
    """Klein-Nystrand form factor (eq. 3 of arXiv:2411.11749).

    Attributes:
        a_k: range of the Yukawa potential in fm.
        r0: R_A = r0 A^(1/3) in fm.
        R_n: root-mean-square radius of the neutrons in fm, R_A^2 = 5/3 R_n^2 - 10 a_k^2; that of r0 if absent.
        R_p: of the protons; if absent that of r0, or the measured one (`PROTON_RADII`) where R_n is given.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> factor = jc.physics.KleinNystrand()(jnp.asarray(50.0**2), jc.physics.xenon().nuclei)  # q = 50 MeV
        >>> round(float(factor.mean()), 4)
        0.7484
    """

    a_k: Float[Array, ""] = parameter(0.7, unit="fm", lower=0.0, upper=5.0, label="$a_k$ [fm]")
    r0: Float[Array, ""] = parameter(1.23, unit="fm", lower=0.0, upper=5.0, label="$r_0$ [fm]")

    R_n: Float[Array, ""] | None = _radius("R_n")
    R_p: Float[Array, ""] | None = _radius("R_p")

    def usual(self, nucleus):
        """R_A^2."""
        return self.r0**2 * jnp.cbrt(nucleus.A) ** 2

    def sphere(self, radius):
        """5/3 R^2 - 10 a_k^2: 6 a_k^2 of the squared radius is the Yukawa potential's."""
        return 5 / 3 * radius**2 - 10 * self.a_k**2

    def shape(self, q2, radius2):
        """3 j1(q R_A)/(q R_A) / (1 + q^2 a_k^2)."""
        return 3 * spherical_j1_over_x(q2 * radius2) / (1 + q2 * self.a_k**2)


class Helm(TwoRadii):
    """Helm form factor with the radius of Lewin and Smith, Astropart. Phys. 6 (1996) 87, eq. 4.11.

    Attributes:
        s: surface thickness in fm.
        a: diffuseness in fm, in R_n^2 = c^2 + 7/3 pi^2 a^2 - 5 s^2, c = 1.23 A^(1/3) - 0.60 fm.
        R_n: root-mean-square radius of the neutrons in fm, of a sphere with R^2 = 5/3 R_n^2 - 5 s^2; that of s and a
            if absent.
        R_p: of the protons; if absent that of s and a, or the measured one (`PROTON_RADII`) where R_n is given.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> factor = jc.physics.Helm()(jnp.asarray(50.0**2), jc.physics.xenon().nuclei)  # q = 50 MeV
        >>> round(float(factor.mean()), 4)
        0.7782
    """

    s: Float[Array, ""] = parameter(0.9, unit="fm", lower=0.0, upper=5.0, label="$s$ [fm]")
    a: Float[Array, ""] = parameter(0.52, unit="fm", lower=0.0, upper=5.0, label="$a$ [fm]")

    R_n: Float[Array, ""] | None = _radius("R_n")
    R_p: Float[Array, ""] | None = _radius("R_p")

    def usual(self, nucleus):
        """c^2 + 7/3 pi^2 a^2 - 5 s^2."""
        c = 1.23 * jnp.cbrt(nucleus.A) - 0.60
        return c**2 + 7 / 3 * jnp.pi**2 * self.a**2 - 5 * self.s**2

    def sphere(self, radius):
        """5/3 R^2 - 5 s^2: 3 s^2 of the squared radius is the surface's."""
        return 5 / 3 * radius**2 - 5 * self.s**2

    def shape(self, q2, radius2):
        """3 j1(q R)/(q R) exp(-q^2 s^2/2)."""
        return 3 * spherical_j1_over_x(q2 * radius2) * jnp.exp(-q2 * self.s**2 / 2)


class SymmetrisedFermi(AbstractFormFactor):
    """Symmetrised Fermi form factor, Sprung and Martorell, J. Phys. A 30 (1997) 6525.

    Attributes:
        a: surface diffuseness in fm.
        c0: offset in fm, c = 1.23 A^(1/3) - c0.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> factor = jc.physics.SymmetrisedFermi()(jnp.asarray(50.0**2), jc.physics.xenon().nuclei)  # q = 50 MeV
        >>> round(float(factor.mean()), 4)
        0.7786
    """

    a: Float[Array, ""] = parameter(0.52, unit="fm", lower=0.0, upper=5.0, label="$a$ [fm]")
    c0: Float[Array, ""] = parameter(0.60, unit="fm", lower=0.0, upper=5.0, label="$c_0$ [fm]")

    def __call__(self, q2, nucleus):
        """Closed form with t = q c and u = pi q a, written so that each factor is finite at q = 0."""
        q2 = q2 / HBAR_C**2
        c = 1.23 * jnp.cbrt(nucleus.A) - self.c0
        t2, u2 = q2 * c**2, q2 * (jnp.pi * self.a) ** 2
        # F = 3/(t (t^2 + u^2)) u/sinh(u) [ (u coth u) sin t - t cos t ], split at q = 0 into
        # sin t - t cos t = t^3 j1(t)/t and (u coth u - 1) sin t = u^2 g(u^2) t sinc(t).
        j = spherical_j1_over_x(t2)
        ratio = (jnp.pi * self.a / c) ** 2  # u^2/t^2, finite where both vanish
        bracket = j + ratio * _coth_excess(u2) * _sinc(t2)
        return 3 * _x_over_sinh(u2) * bracket / (1 + ratio)


def _sinc(x2: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sin(x)/x as a function of x^2."""
    small = x2 < _SERIES_BELOW
    x = jnp.sqrt(jnp.where(small, 1.0, x2))
    y = jnp.where(small, x2, 0.0)
    series = 1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110 * (1 - y / 156)))))
    return jnp.where(small, series, jnp.sin(x) / x)


def _coth_excess(x2: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """(x coth x - 1)/x^2 as a function of x^2, 1/3 at zero."""
    small = x2 < _SERIES_BELOW
    safe = jnp.where(small, 1.0, x2)
    x = jnp.sqrt(safe)
    y = jnp.where(small, x2, 0.0)
    series = 1 / 3 - y * (
        1 / 45
        - y
        * (
            2 / 945
            - y
            * (
                1 / 4725
                - y
                * (
                    2 / 93555
                    - y
                    * (1382 / 638512875 - y * (4 / 18243225 - y * (7234 / 325641566250 - y * 87734 / 38979295480125)))
                )
            )
        )
    )
    return jnp.where(small, series, (x / jnp.tanh(x) - 1) / safe)
