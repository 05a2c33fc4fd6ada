"""Steps of `jcevns reproduce` with XENONnT's own likelihood: the cost of three bins, and statistics by toys."""

from typing import Any

import numpy as np

from jcevns.constants import ONE_SIGMA
from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import Experiment
from jcevns.files import write_csv
from jcevns.likelihood.likelihood import Likelihood
from jcevns.paper.estimates import estimate, fit_command
from jcevns.paper.run import DATASETS, Run, file_rows
from jcevns.physics.theories import theory
from jcevns.plot import style
from jcevns.plot.projections import plot_projection, project
from jcevns.statistics import calibration
from jcevns.statistics.limits import limits
from jcevns.statistics.projections import scaled

__all__ = ["fits", "projections", "toys"]

PUBLISHED = (
    # arXiv:2408.02877: XENONnT's own result with this data.
    ("XENONnT, published", "flux", 4.7e6, 3.6e6, 2.3e6, 2.73),
    # alea 0.3.5 on the released templates (arXiv:2409.17868): benchmarks/alea_peer.py.
    ("alea on the released templates", "flux", 4.695e6, 3.671e6, 2.286e6, 2.672),
)
"""Analysis, parameter, value, upper and lower error, significance."""

ANALYSES: dict[str, tuple[str, dict[str, Any]]] = {
    "2024, released 8B templates": ("xenonnt-2024", {"template": "released"}),
    "2024, folded, Bahcall (default)": ("xenonnt-2024", {}),
    "2024, folded, Winter": ("xenonnt-2024", {"shape": "winter2006"}),
    "2026, folded, Bahcall (widths assumed)": ("xenonnt-2026", {}),
    "2026, folded, Winter (widths assumed)": ("xenonnt-2026", {"shape": "winter2006"}),
}

TOYS, INTERVAL_TOYS, PROJECTION_TOYS = 10_000, 1000, 500
COVERAGE_FLUXES = (1e6, 2.5e6, 5e6, 7.5e6, 10e6)  # cm^-2 s^-1
EXPOSURES = (10.0, 20.0, 50.0, 100.0, 200.0)  # tonne-year
SEED = 20241118
FLUX = "flux.b8"
COUPLING = ("scalar", 10.0)  # interaction and mass in MeV of the examples


def fits(run: Run) -> None:
    """Flux, significance and sin2w of the official likelihood beside the three-bin analysis."""
    columns = ("analysis", "parameter", "best_fit", "error_up", "error_down", "significance")
    rows = [dict(zip(columns, entry, strict=True)) | {"valid": True, "command": ""} for entry in PUBLISHED]

    def enter(analysis: str, quantity: str, built: Experiment | None) -> None:
        found = run.estimate(quantity, "xenonnt") if built is None else estimate(quantity, [built])
        specs = {name: {} for name in DATASETS["xenonnt"]} if built is None else dict([ANALYSES[analysis]])
        rows.append(
            {"analysis": analysis, "parameter": quantity} | found.row | {"command": fit_command(quantity, specs)}
        )

    built = {analysis: experiment(name, **options) for analysis, (name, options) in ANALYSES.items()}
    three = "three bins, as the paper (c_i to XENONnT's best fit)"
    default = "2024, folded, Bahcall (default)"
    for analysis, one in built.items():
        enter(analysis, "flux", one)
    enter(three, "flux", None)
    enter(default, "sin2w", built[default])
    enter(three, "sin2w", None)
    run.experiments["xenonnt-2024"] = built[default]
    run.experiments["xenonnt-2026"] = built["2026, folded, Bahcall (widths assumed)"]
    file_rows(run, "official", rows)


def _scalar(built: Experiment) -> Likelihood:
    """The likelihood with a scalar mediator of the mass of the examples."""
    return Likelihood(built, theory(COUPLING[0], mass=COUPLING[1]))


def toys(run: Run) -> None:
    """Significance, coverage of the asymptotic intervals, goodness of fit, Feldman-Cousins intervals."""
    store = run.out / ".cache" / "toys"
    built = experiment("xenonnt-2024")
    likelihood = Likelihood(built)
    found = calibration.coverage(likelihood, FLUX, COVERAGE_FLUXES, toys=TOYS, seed=SEED, store=store)
    rows = [r.to_dict() for r in found]
    discovery = calibration.discovery(likelihood, FLUX, toys=TOYS, seed=SEED, store=store)
    quality = calibration.fit_quality(likelihood, FLUX, toys=TOYS, seed=SEED, store=store)
    tested = np.linspace(0.0, 14e6, 15)
    intervals = [
        calibration.toy_interval(likelihood, FLUX, tested, cl, toys=INTERVAL_TOYS, seed=SEED, store=store)
        for cl in (ONE_SIGMA, 0.90)
    ]
    mediator = _scalar(built)
    end = limits(mediator, "coupling", over={"mass": [COUPLING[1]]})[0].excluded[0][0]
    around = end * np.array([0.5, 0.75, 0.9, 1.0, 1.1, 1.25])
    excluded = calibration.toy_interval(
        mediator, "coupling", around, 0.90, toys=INTERVAL_TOYS, seed=SEED, store=store
    )
    write_csv(run.out / "official-toys.csv", list(rows[0]), [list(r.values()) for r in rows])
    run.results["official-toys"] = {
        "seed": SEED,
        "discovery": discovery.to_dict(),
        "coverage": rows,
        "fit_quality": quality.to_dict(),
        "flux_intervals": [i.to_dict() for i in intervals],
        "coupling": {"interaction": COUPLING[0], "mass_MeV": COUPLING[1], "asymptotic_upper": end}
        | excluded.to_dict(),
    }


def projections(run: Run) -> None:
    """Expected sensitivity of the 2024 analysis scaled to larger exposures."""
    built = experiment("xenonnt-2024")
    rows: list[dict[str, Any]] = []
    for exposure in EXPOSURES:
        grown = scaled(built, exposure)
        for likelihood, name in (
            (Likelihood(grown), FLUX),
            (Likelihood(grown), "sin2w"),
            (_scalar(grown), "coupling"),
        ):
            rows += project(likelihood, name, exposure, PROJECTION_TOYS, SEED)
    quantities = list(dict.fromkeys(r["quantity"] for r in rows))
    with style.style():
        fig, axes = style.figure(columns=2, rows=2, width=3.7, height=3.0)
        for ax, quantity in zip(axes, quantities, strict=True):
            plot_projection([r for r in rows if r["quantity"] == quantity], ax)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        paths = style.save(fig, run.out / "projections")
    columns = ["exposure_tonne_year", "quantity", "unit", "truth", "asimov", "m2", "m1", "median", "p1", "p2", "toys"]
    content = [
        [r["exposure"], r["quantity"], r["unit"], r["truth"], r["asimov"], *r["bands"], r["toys"]] for r in rows
    ]
    write_csv(run.out / "projections.csv", columns, content)
    run.results["projections"] = rows
    caption = (
        "Expected results of XENONnT's 2024 analysis scaled to other exposures, with its backgrounds and "
        "systematic widths, Standard Model true: median and bands of toys. The efficiency (25%) and the yields "
        "limit the flux; a future detector would have to know them better (`jcevns project --systematics`)."
    )
    run.figures.append((paths[0], caption))
