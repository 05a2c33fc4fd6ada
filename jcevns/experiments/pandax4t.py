"""PandaX-4T's ionisation-only (US2) search for 8B CEvNS (arXiv:2407.10892) as the paper analyses it."""

from pathlib import Path
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.detectors.charge_yield import NestChargeYield
from jcevns.detectors.fluctuations import binomial_response
from jcevns.detectors.response import charge_response
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment, normalised
from jcevns.experiments.nuisances import Nuisance
from jcevns.experiments.replacing import nominal_model, own_curve, own_yield, with_fluxes
from jcevns.physics.flux import b8
from jcevns.physics.nuclei import xenon
from jcevns.spelling import unknown

__all__ = ["TABLES", "pandax4t_us2"]

TABLES = ("T0", "T1", "T2", "T3", "T4")
"""Reconstructions of the US2 bins that the package ships."""

RESPONSES = ("paper", "binomial")
EXPOSURE = 1.04  # tonne-year, arXiv:2407.10892
ELECTRON_RESOLUTION = 0.27
"""Relative width of the signal of one electron [inferred: the efficiency that the table's signal then implies is the
same in all bins, within 1%]."""

COLUMNS = ("ne_lo", "ne_hi", "signal_at_5p46e6", "cathode", "microdischarge", "observed")

RECONSTRUCTED = (
    "per-bin counts are a reconstruction from published totals (332 observed, 251 +- 32 expected background): "
    "the publication's per-bin table was not obtainable"
)


def _bins(table: str | Path) -> tuple[dict[str, np.ndarray], bool]:
    """Columns of a shipped or a user's table, and whether it is shipped."""
    if str(table) in TABLES:
        rows = datasets.read_table("pandax4t_us2_bins")
        chosen = rows["table"] == str(table)
        return {column: rows[column][chosen] for column in COLUMNS}, True
    path = Path(table)
    if not path.suffix and not path.exists():
        raise ValueError(unknown("pandax4t-us2: table", str(table), TABLES, "give a CSV file, or one of"))
    rows = datasets.read_csv(path, COLUMNS)
    lo, hi = rows["ne_lo"], rows["ne_hi"]
    if np.any(hi <= lo) or np.any(lo[1:] != hi[:-1]):
        raise ValueError(f"{path}: bins must be contiguous, ne_hi of each row equal to ne_lo of the next")
    return rows, False


def pandax4t_us2(
    table: str | Path = "T1",
    shape: str = "bahcall1996",
    field: float = 88.0,
    response: str = "paper",
    efficiency: Any = "one",
    charge_yield: Any = "nest",
    form_factor: Any = "klein-nystrand",
    flux: Any = "b8",
) -> Experiment:
    """PandaX-4T US2 in electrons, 1.04 tonne-year, 332 events.

    Args:
        table: one of T0-T4, reconstructions from published totals (T1 reproduces eqs. 18 and 21 of
            arXiv:2411.11749), or the path of a CSV with the columns ne_lo, ne_hi, signal_at_5p46e6,
            cathode, microdischarge, observed.
        shape: 8B spectral shape, see `jcevns.physics.b8`.
        field: drift field in V/cm in the NEST charge yield.
        response: `paper` has N_e = T Q_y(T) without fluctuations (eqs. 12-15 of arXiv:2411.11749), so that no recoil
            below 0.66 keV is seen; `binomial` lets N_e fluctuate (`binomial_response`). Either is scaled, bin by
            bin, to the table's signal.
        efficiency: `one`, or of your own, see `Experiment.replace`.
        charge_yield: `nest`, or of your own.
        form_factor: that the scale to the table's signal is computed with.
        flux: of the theory's neutrinos; the scale to the table's signal is that of 8B in any case.

    Raises:
        ValueError: unknown table, shape or response, a field that is not positive, or a CSV that does not hold a
            table (file, line and column are named); inputs of your own that are none.
    """
    if not 0 < field < np.inf:
        raise ValueError(f"pandax4t-us2: field {field!r} must be positive, in V/cm")
    if response not in RESPONSES:
        raise ValueError(unknown("pandax4t-us2: response", response, RESPONSES))
    rows, shipped = _bins(table)
    edges = np.append(rows["ne_lo"], rows["ne_hi"][-1])
    own: list[str] = []
    charge = NestChargeYield(field=field)
    if not isinstance(charge_yield, str) or charge_yield != "nest":
        own.append("charge yield")
        charge = own_yield("pandax4t-us2", charge_yield)
    kept = None
    if not isinstance(efficiency, str) or efficiency != "one":
        own.append("efficiency")
        kept = own_curve("pandax4t-us2", efficiency)
    if response == "paper":
        seen = charge_response(charge, edges, EXPOSURE, kept)
    else:
        seen = binomial_response(charge, edges, EXPOSURE, ELECTRON_RESOLUTION)
        if kept is not None:
            seen = seen.seen_with(kept)
    model = nominal_model("pandax4t-us2", form_factor)
    channel = normalised(rows["signal_at_5p46e6"], Channel(b8(shape), xenon(), seen), model)
    source = f"table {table}: {RECONSTRUCTED}" if shipped else f"table {table}: supplied by the user"
    notes = [source, "c_i frozen at the SM point so that the signal is the table's"]
    if own:
        notes.append(f"{' and '.join(own)} of the user; c_i computed with it, so that the signal stays the table's")
    built = Experiment(
        name="pandax4t-us2",
        channels=channel,
        observed=rows["observed"],
        backgrounds={k: rows[k] for k in ("cathode", "microdischarge")},
        nuisances=(
            Nuisance("signal", 0.22, (SIGNAL,)),
            Nuisance("cathode", 0.31, ("cathode",)),
            Nuisance("microdischarge", 0.23, ("microdischarge",)),
        ),
        observable="N_e [electrons]",
        bin_edges=tuple(map(float, edges)),
        exposure=EXPOSURE,
        status="reconstructed" if shipped and not own else "user",
        runs=("PandaX-4T US2",),
        notes=tuple(notes),
        tables=("pandax4t_us2_bins",) if shipped else (),
    )
    return built if isinstance(flux, str) and flux == "b8" else with_fluxes(built, flux)
