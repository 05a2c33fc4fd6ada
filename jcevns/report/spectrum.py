"""Recoil spectrum and counts above threshold as one record."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jcevns.constants import SIN2_THETA_W
from jcevns.physics.cross_sections import StandardModel
from jcevns.physics.flux import B8_FLUX, b8, hep
from jcevns.physics.form_factors import Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.nuclei import xenon
from jcevns.physics.recoil import Theory, counts_above, recoil_spectrum

__all__ = ["FORM_FACTORS", "spectrum_counts"]

FORM_FACTORS = {"klein-nystrand": KleinNystrand, "helm": Helm, "fermi": SymmetrisedFermi}
"""Form factors by name."""

_RECOILS = np.round(np.arange(0.1, 5.001, 0.02), 10)  # keV


def spectrum_counts(
    thresholds_keV: Sequence[float],
    shape: str = "bahcall1996",
    sin2w: float | None = None,
    flux: float | None = None,
    form_factor: str = "klein-nystrand",
    with_hep: bool = False,
) -> dict[str, Any]:
    """Counts above thresholds and dR/dT on natural xenon at full efficiency.

    Args:
        thresholds_keV: recoil thresholds, above zero.
        shape: 8B shape.
        sin2w: sin^2(theta_W); None for 0.23857.
        flux: total 8B flux in cm^-2 s^-1; None for 5.46e6.
        form_factor: a key of `FORM_FACTORS`.
        with_hep: add the hep flux.

    Raises:
        ValueError: empty, negative or non-finite input.
    """
    values = np.asarray(thresholds_keV, float)
    if values.size == 0:
        raise ValueError("no thresholds given: name at least one, in keV")
    if not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(f"thresholds {list(thresholds_keV)} must be positive, in keV")
    sin2w = SIN2_THETA_W if sin2w is None else sin2w
    if not np.isfinite(sin2w):
        raise ValueError(f"sin2w {sin2w} must be finite")
    total = B8_FLUX if flux is None else flux
    theory = Theory(StandardModel(sin2w, FORM_FACTORS[form_factor]()), total)
    target = xenon()
    recoils, cuts = jnp.asarray(_RECOILS), jnp.asarray(values)
    fluxes = [b8(shape), hep()] if with_hep else [b8(shape)]
    counts = sum(np.asarray(counts_above(theory, f, target, cuts)) for f in fluxes)
    rate = sum(np.asarray(recoil_spectrum(theory, f, target, recoils)) for f in fluxes)
    return {
        "counts": [
            {"threshold_keV": float(t), "events_per_tonne_year": float(n)}
            for t, n in zip(values, np.atleast_1d(counts), strict=True)
        ],
        "shape": shape,
        "b8_flux": float(total),
        "sin2w": float(sin2w),
        "form_factor": form_factor,
        "hep": with_hep,
        "spectrum": {
            "recoil_keV": _RECOILS.tolist(),
            "events_per_tonne_year_keV": np.atleast_1d(rate).tolist(),
        },
    }
