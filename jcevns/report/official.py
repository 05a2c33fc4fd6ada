"""Steps of `jcevns reproduce` with XENONnT's own likelihood: the cost of three bins, and statistics by toys."""

from typing import Any

import numpy as np

from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import Experiment
from jcevns.inference import calibration
from jcevns.inference.hypothesis import coupling_hypothesis, hypothesis
from jcevns.inference.intervals import Estimate, estimate
from jcevns.inference.limits import limits
from jcevns.inference.parameters import find_parameter
from jcevns.inference.projections import scaled
from jcevns.likelihood.joint import Likelihood
from jcevns.physics.interactions import INTERACTIONS
from jcevns.report import exclusion, style, tables
from jcevns.report.projections import plot_projection, project
from jcevns.report.run import Run, file_rows

__all__ = ["exclusions", "fits", "projections", "toys"]

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
COUPLING = ("scalar", 10.0)  # interaction and mass in MeV of the examples


def _row(analysis: str, result: Estimate) -> dict[str, Any]:
    low, high = result.interval_68.lower, result.interval_68.upper
    return {
        "analysis": analysis,
        "parameter": result.parameter,
        "best_fit": result.best_fit,
        "error_up": None if high is None else high - result.best_fit,
        "error_down": None if low is None else result.best_fit - low,
        "significance": result.significance,
        "valid": result.valid,
    }


def fits(run: Run) -> None:
    """Flux, significance and sin2w of the official likelihood beside the three-bin analysis."""
    rows = [
        dict(zip(("analysis", "parameter", "best_fit", "error_up", "error_down", "significance"), entry, strict=True))
        | {"valid": True}
        for entry in PUBLISHED
    ]
    built: dict[str, Experiment] = {}
    for analysis, (name, options) in ANALYSES.items():
        built[analysis] = experiment(name, **options)
        likelihood = Likelihood(built[analysis], flux_pull=False)
        rows.append(_row(analysis, estimate(likelihood, "flux")))
    three = "three bins, as the paper (c_i to XENONnT's best fit)"
    rows.append(_row(three, run.estimate("flux", "xenonnt")))
    default = "2024, folded, Bahcall (default)"
    rows.append(_row(default, estimate(Likelihood(built[default]), "sin2w")))
    rows.append(_row(three, run.estimate("sin2w", "xenonnt")))
    run.experiments["xenonnt-2024"] = built[default]
    run.experiments["xenonnt-2026"] = built["2026, folded, Bahcall (widths assumed)"]
    file_rows(run, "official", rows)


def exclusions(run: Run) -> None:
    """Fig. 4 from the official likelihood, beside the three-bin analysis."""
    masses = np.geomspace(1e-2, 1e4, 61)
    rows = []
    sources = {
        "XENONnT, own likelihood": Likelihood(experiment("xenonnt-2024")),
        "XENONnT, three bins": run.likelihood("xenonnt", True),
    }
    with style.style():
        fig, axes = style.figure(columns=2, width=3.6, height=3.6)
        for ax, (title, likelihood) in zip(axes, sources.items(), strict=True):
            found = {name: limits(likelihood, name, masses, minimum="all") for name in INTERACTIONS}
            exclusion.plot_exclusion(found, ax, title=title)
            rows += [
                {
                    "analysis": title,
                    "interaction": name,
                    "mass_MeV": r.mass,
                    "excluded_from": low,
                    "excluded_to": high,
                    "valid": r.valid,
                }
                for name, results in found.items()
                for r in results
                for low, high in r.excluded
            ]
        axes[1].set_ylabel("")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
        paths = style.save(fig, run.out / "official_exclusion")
    file_rows(run, "official-limits", rows)
    caption = (
        "Excluded at 90% CL (Delta chi2 = 2.71 from the minimum over mass and coupling) by XENONnT SR0+SR1: left "
        "with the collaboration's 4-d templates, morphing and nuisances, right with the paper's three bins."
    )
    run.figures.append((paths[0], caption))


def toys(run: Run) -> None:
    """Significance, coverage of the asymptotic intervals, goodness of fit, Feldman-Cousins intervals."""
    store = run.out / ".cache" / "toys"
    built = experiment("xenonnt-2024")
    flux = hypothesis(Likelihood(built, flux_pull=False), "flux")
    rows = [
        calibration.as_json(r) for r in calibration.coverage(flux, COVERAGE_FLUXES, toys=TOYS, seed=SEED, store=store)
    ]
    discovery = calibration.discovery(flux, TOYS, SEED, store)
    quality = calibration.fit_quality(flux, TOYS, SEED, store)
    tested = np.linspace(0.0, 14e6, 15)
    intervals = [
        calibration.toy_interval(flux, tested, cl, INTERVAL_TOYS, SEED, store) for cl in (0.6826894921370859, 0.90)
    ]
    coupling = coupling_hypothesis(Likelihood(built), *COUPLING)
    limit = limits(Likelihood(built), COUPLING[0], [COUPLING[1]])[0]
    end = limit.excluded[0][0]
    excluded = calibration.toy_interval(
        coupling, end * np.array([0.5, 0.75, 0.9, 1.0, 1.1, 1.25]), 0.90, INTERVAL_TOYS, SEED, store
    )
    tables.write_csv(run.out / "official-toys.csv", list(rows[0]), [list(r.values()) for r in rows])
    run.results["official-toys"] = {
        "seed": SEED,
        "discovery": calibration.as_json(discovery),
        "coverage": rows,
        "fit_quality": calibration.as_json(quality),
        "flux_intervals": [calibration.as_json(i) for i in intervals],
        "coupling": {"interaction": COUPLING[0], "mass_MeV": COUPLING[1], "asymptotic_upper": end}
        | calibration.as_json(excluded),
    }


def projections(run: Run) -> None:
    """Expected sensitivity of the 2024 analysis scaled to larger exposures."""
    built = experiment("xenonnt-2024")
    rows: list[dict[str, Any]] = []
    for exposure in EXPOSURES:
        grown = scaled(built, exposure)
        for name in ("flux", "sin2w"):
            quantity = hypothesis(Likelihood(grown, find_parameter(name).flux_pull), name)
            rows += project(quantity, exposure, PROJECTION_TOYS, SEED)
        rows += project(coupling_hypothesis(Likelihood(grown), *COUPLING), exposure, PROJECTION_TOYS, SEED)
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
    tables.write_csv(run.out / "projections.csv", columns, content)
    run.results["projections"] = rows
    caption = (
        "Expected results of XENONnT's 2024 analysis scaled to other exposures, with its backgrounds and "
        "systematic widths, Standard Model true: median and bands of toys. The efficiency (25%) and the yields "
        "limit the flux; a future detector would have to know them better (`jcevns project --systematics`)."
    )
    run.figures.append((paths[0], caption))
