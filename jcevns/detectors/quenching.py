"""Quenching of nuclear recoils in germanium: ionisation over recoil energy, by a model or by measured curves."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.spelling import unknown

__all__ = ["MEASURED", "germanium_quenching", "lindhard"]

MEASURED = {"fef": "iron_filter", "ybe": "photoneutron"}
"""Measured curves of germanium and their columns in the card `germanium_quenching`."""

LINDHARD_K = (0.05, 0.5)
"""Values of k that are a model of something: Lindhard's own is 0.133 Z^(2/3) A^(-1/2) = 0.157 in germanium."""

Curve = Callable[[Any], Any]


def lindhard(Z: float | int, k: float) -> Curve:
    """Lindhard's quenching factor of recoils in a material of their own kind.

    k g/(1 + k g) with g = 3 e^0.15 + 0.7 e^0.6 + e and e = 11.5 Z^(-7/3) T/keV (Lindhard et al., Mat. Fys. Medd.
    Dan. Vid. Selsk. 33, 10 (1963)).

    Args:
        Z: proton number.
        k: strength of the electronic stopping power, from 0.05 to 0.5; 0.157 in germanium.

    Returns:
        A function of recoil energies in keV.

    Raises:
        ValueError: k or Z out of range.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> quenching = jc.detectors.lindhard(Z=32, k=0.157)
        >>> [round(float(q), 3) for q in quenching(np.array([0.5, 1.0, 10.0]))]  # at 0.5, 1 and 10 keV
        [0.156, 0.171, 0.234]
    """
    low, high = LINDHARD_K
    if not (low <= k <= high and 1 <= Z <= 120):
        raise ValueError(f"Lindhard's k {k!r} must be from {low:g} to {high:g}, as 0.157, and Z {Z!r} from 1 to 120")

    def factor(recoil_keV: Any) -> Any:
        e = 11.5 * Z ** (-7 / 3) * np.asarray(recoil_keV, float)
        g = 3 * e**0.15 + 0.7 * e**0.6 + e
        return k * g / (1 + k * g)

    return factor


def germanium_quenching(name: str, k: float = 0.157) -> Curve:
    """Quenching factor of germanium.

    Args:
        name: `fef` (iron-filtered neutrons) or `ybe` (photoneutrons), measured curves of arXiv:2202.09672, linear
            between their points and constant beyond; or `lindhard`.
        k: of the Lindhard model; no use to the others.

    Raises:
        ValueError: unknown curve, or k out of range.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> [round(float(jc.detectors.germanium_quenching(n)(np.array(1.0))), 3) for n in ("fef", "ybe", "lindhard")]
        [0.244, 0.194, 0.171]
    """
    if name == "lindhard":
        return lindhard(32.0, k)
    if name not in MEASURED:
        raise ValueError(unknown("quenching of germanium", name, (*MEASURED, "lindhard")))
    table = datasets.read_table("germanium_quenching")
    return lambda recoil_keV: np.interp(recoil_keV, table["recoil_keV"], table[MEASURED[name]])
