"""Recoil spectrum and counts above threshold as one record."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jcevns.constants import SIN2_THETA_W
from jcevns.parameters import LARGEST
from jcevns.physics.flux import B8_FLUX, b8, hep
from jcevns.physics.nuclei import xenon
from jcevns.physics.recoil import counts_above, recoil_spectrum
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.theories import FORM_FACTORS

__all__ = ["spectrum_counts"]

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
    if not (np.isfinite(total) and total >= 0):
        raise ValueError(f"8B flux {total} cm^-2 s^-1 must be finite and not negative")
    if total > LARGEST:
        raise ValueError(f"8B flux {total} cm^-2 s^-1 is too large to compute with, {LARGEST:g} at most")
    theory, target = StandardModel(jnp.asarray(sin2w), FORM_FACTORS[form_factor]()), xenon()
    recoils, cuts = jnp.asarray(_RECOILS), jnp.asarray(values)
    fluxes = [(b8(shape), total / B8_FLUX), *([(hep(), 1.0)] if with_hep else [])]
    counts = sum(factor * np.asarray(counts_above(theory, f, target, cuts)) for f, factor in fluxes)
    rate = sum(factor * np.asarray(recoil_spectrum(theory, f, target, recoils)) for f, factor in fluxes)
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
