"""Physical constants and unit factors, each with its source."""

import math

__all__ = [
    "AVOGADRO",
    "CM2_PER_INVERSE_MEV2",
    "ELECTRON_MASS",
    "FERMI_CONSTANT",
    "FINE_STRUCTURE",
    "HBAR_C",
    "KEV",
    "MUON_MASS",
    "NEUTRON_MASS",
    "ONE_SIGMA",
    "PER_MEV_TO_PER_KEV",
    "PION_MASS",
    "PROTON_MASS",
    "SECONDS_PER_YEAR",
    "SIN2_THETA_W",
    "TAU_MASS",
    "chi2_threshold",
]

FERMI_CONSTANT = 1.1663787e-11
"""G_F in MeV^-2 (PDG 2024)."""

HBAR_C = 197.3269804
"""hbar c in MeV fm (CODATA 2018, exact)."""

CM2_PER_INVERSE_MEV2 = (HBAR_C * 1e-13) ** 2
"""Cross sections: 1 MeV^-2 in cm^2."""

PROTON_MASS = 938.27208943
"""MeV (CODATA 2022)."""

NEUTRON_MASS = 939.56542194
"""MeV (CODATA 2022)."""

ELECTRON_MASS = 0.51099895069
"""MeV (CODATA 2022)."""

MUON_MASS = 105.6583755
"""MeV (CODATA 2022)."""

TAU_MASS = 1776.93
"""MeV (PDG 2024)."""

PION_MASS = 139.57039
"""MeV, charged (PDG 2024)."""

FINE_STRUCTURE = 7.2973525643e-3
"""alpha (CODATA 2022)."""

KEV = 1e-3
"""1 keV in MeV."""

PER_MEV_TO_PER_KEV = 1e-3
"""A density per MeV, expressed per keV."""

AVOGADRO = 6.02214076e23
"""Atoms per mole (CODATA 2018, exact)."""

SECONDS_PER_YEAR = 365.25 * 86400.0
"""Seconds in a Julian year, the year of every exposure in tonne-year."""

SIN2_THETA_W = 0.23857
"""sin^2(theta_W) at zero momentum transfer, MS-bar (+-0.00005, eq. 2 of arXiv:2411.11749)."""

ONE_SIGMA = math.erf(1 / math.sqrt(2))
"""Probability content of one standard deviation, 0.6827."""

_MOST_DOF = 1000


def chi2_threshold(cl: float = 0.90, dof: int = 1) -> float:
    """Delta chi2 that bounds a confidence region (Wilks' theorem).

    Args:
        cl: confidence level, between 0 and 1.
        dof: number of parameters of interest, 1 or more.

    Returns:
        Quantile of the chi2 distribution: 2.71 for 90% and one parameter, 4.61 for two.

    Raises:
        ValueError: if `cl` is outside (0, 1) or `dof` below 1.

    Example:
        >>> import jcevns as jc
        >>> round(jc.chi2_threshold(0.90), 4), round(jc.chi2_threshold(0.90, dof=2), 4)
        (2.7055, 4.6052)
    """
    from scipy.special import gammaincinv  # scipy.stats says the same and takes a second to import

    if not 0.0 < cl < 1.0:
        raise ValueError(f"confidence level {cl!r} is outside (0, 1): give 0.90 for 90%")
    if isinstance(dof, bool) or not 1 <= dof <= _MOST_DOF or int(dof) != dof:
        raise ValueError(f"dof {dof!r} must be a whole number of parameters, 1 or more, {_MOST_DOF} at most")
    if cl < 1e-9:
        raise ValueError(f"confidence level {cl!r} is too close to 0: give 0.90 for 90%")
    return float(2 * gammaincinv(dof / 2, cl))
