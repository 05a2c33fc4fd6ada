"""Non-standard interactions of neutrinos with quarks and electrons, in scattering and in propagation."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jcevns.parameters import parameter
from jcevns.physics.flavour import ChargeMatrices
from jcevns.physics.oscillations import MatterNSI, hermitian
from jcevns.physics.propagation import Propagation
from jcevns.physics.standard_model import StandardModel

__all__ = ["NSI"]

_LARGEST = 10.0  # beyond, the rate is a hundred times that of the Standard Model or more
_SYMBOLS = {"e": "e", "mu": r"\mu", "tau": r"\tau"}


def _eps(fermion: str, flavours: str, part: str = "") -> Any:
    first = next(f for f in _SYMBOLS if flavours.startswith(f))
    entry = _SYMBOLS[first] + _SYMBOLS[flavours.removeprefix(first)]
    symbol = rf"\epsilon^{{{fermion}}}_{{{entry}}}"
    return parameter(
        0.0,
        lower=-_LARGEST,
        upper=_LARGEST,
        label=f"${symbol}$" if not part else rf"$\mathrm{{{part}}}\,{symbol}$",
        scale=0.1,
        null=0.0,
        prior="uniform:-2:2",
    )


class NSI(Propagation):
    """Non-standard interactions: contact terms that shift the charges of neutrinos, as matrices in flavour.

    L = -2 sqrt2 G_F eps^f_ab (nu_a gamma nu_b)(f gamma f) (arXiv:1907.00991): with the vector couplings eps^u, eps^d
    of quarks, and eps^eL, eps^eR of electrons of either chirality,

    g_V^p -> g_V^p + 2 eps^u + eps^d,  g_V^n -> g_V^n + eps^u + 2 eps^d,  g_L -> g_L + eps^eL,  g_R -> g_R + eps^eR.

    The rate is Tr[rho Q Q^dagger] with the density matrix at the detector. Off-diagonal couplings are complex,
    eps_ba = eps_ab^*; `_im` is the imaginary part of the one named.

    Attributes:
        eps_u_ee: of up quarks and nu_e; and so on for d, eL, eR, and each pair of flavours.
        standard_model: what it is added to.
        propagation: `matter`, the Sun and the Earth see the same couplings; `standard`, they see none.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> [round(float(jc.signal_counts(xenonnt, jc.NSI(eps_u_ee=e)).sum()), 2) for e in (0.0, 0.1)]  # events
        [11.13, 8.47]
    """

    eps_u_ee: Float[Array, ""] = _eps("u", "ee")
    eps_u_mumu: Float[Array, ""] = _eps("u", "mumu")
    eps_u_tautau: Float[Array, ""] = _eps("u", "tautau")
    eps_u_emu: Float[Array, ""] = _eps("u", "emu")
    eps_u_emu_im: Float[Array, ""] = _eps("u", "emu", "Im")
    eps_u_etau: Float[Array, ""] = _eps("u", "etau")
    eps_u_etau_im: Float[Array, ""] = _eps("u", "etau", "Im")
    eps_u_mutau: Float[Array, ""] = _eps("u", "mutau")
    eps_u_mutau_im: Float[Array, ""] = _eps("u", "mutau", "Im")
    eps_d_ee: Float[Array, ""] = _eps("d", "ee")
    eps_d_mumu: Float[Array, ""] = _eps("d", "mumu")
    eps_d_tautau: Float[Array, ""] = _eps("d", "tautau")
    eps_d_emu: Float[Array, ""] = _eps("d", "emu")
    eps_d_emu_im: Float[Array, ""] = _eps("d", "emu", "Im")
    eps_d_etau: Float[Array, ""] = _eps("d", "etau")
    eps_d_etau_im: Float[Array, ""] = _eps("d", "etau", "Im")
    eps_d_mutau: Float[Array, ""] = _eps("d", "mutau")
    eps_d_mutau_im: Float[Array, ""] = _eps("d", "mutau", "Im")
    eps_eL_ee: Float[Array, ""] = _eps("eL", "ee")
    eps_eL_mumu: Float[Array, ""] = _eps("eL", "mumu")
    eps_eL_tautau: Float[Array, ""] = _eps("eL", "tautau")
    eps_eL_emu: Float[Array, ""] = _eps("eL", "emu")
    eps_eL_emu_im: Float[Array, ""] = _eps("eL", "emu", "Im")
    eps_eL_etau: Float[Array, ""] = _eps("eL", "etau")
    eps_eL_etau_im: Float[Array, ""] = _eps("eL", "etau", "Im")
    eps_eL_mutau: Float[Array, ""] = _eps("eL", "mutau")
    eps_eL_mutau_im: Float[Array, ""] = _eps("eL", "mutau", "Im")
    eps_eR_ee: Float[Array, ""] = _eps("eR", "ee")
    eps_eR_mumu: Float[Array, ""] = _eps("eR", "mumu")
    eps_eR_tautau: Float[Array, ""] = _eps("eR", "tautau")
    eps_eR_emu: Float[Array, ""] = _eps("eR", "emu")
    eps_eR_emu_im: Float[Array, ""] = _eps("eR", "emu", "Im")
    eps_eR_etau: Float[Array, ""] = _eps("eR", "etau")
    eps_eR_etau_im: Float[Array, ""] = _eps("eR", "etau", "Im")
    eps_eR_mutau: Float[Array, ""] = _eps("eR", "mutau")
    eps_eR_mutau_im: Float[Array, ""] = _eps("eR", "mutau", "Im")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    propagation: str = eqx.field(static=True, default="matter")

    label = "nsi"

    def __check_init__(self):
        if self.propagation not in ("matter", "standard"):
            raise ValueError(f"propagation {self.propagation!r} must be 'matter' or 'standard'")

    def couplings(self, fermion: str) -> Array:
        """Eps of one fermion, u, d, eL or eR: hermitian, rows and columns e, mu, tau."""

        def own(flavours: str) -> Array:
            return getattr(self, f"eps_{fermion}_{flavours}")

        mixing = [jax.lax.complex(own(f), own(f"{f}_im")) for f in ("emu", "etau", "mutau")]
        return hermitian(own("ee"), own("mumu"), own("tautau"), *mixing)

    def charge_matrices(self):
        """What adds to the charges of the Standard Model."""
        up, down, left, right = map(self.couplings, ("u", "d", "eL", "eR"))
        return ChargeMatrices(2 * up + down, up + 2 * down, left + right, left - right)

    def matter(self):
        """The same couplings, where neutrinos cross matter."""
        if self.propagation == "standard":
            return MatterNSI()
        up, down, left, right = map(self.couplings, ("u", "d", "eL", "eR"))
        return MatterNSI(left + right, up, down)
