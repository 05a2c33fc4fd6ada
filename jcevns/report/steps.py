"""The steps of `jcevns reproduce`: each computes one result of the paper and files it in the run."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from jcevns.constants import SIN2_THETA_W
from jcevns.experiments.catalogue import experiment
from jcevns.experiments.pandax4t import TABLES
from jcevns.inference.batch import prepare
from jcevns.inference.fit import profile
from jcevns.inference.intervals import estimate, profile_curve
from jcevns.inference.limits import limits
from jcevns.inference.parameters import find_parameter
from jcevns.likelihood.joint import Likelihood, component_counts, signal
from jcevns.physics.flux import B8_FLUX, B8_RELATIVE_ERROR, B8_SHAPES, b8
from jcevns.physics.interactions import INTERACTIONS
from jcevns.physics.nuclei import xenon
from jcevns.physics.recoil import Theory, counts_above
from jcevns.report import bayesian, exclusion, mediators, official, plots, running, style, tables
from jcevns.report.run import DATASETS, STYLE_KEYS, Run, Step, file_rows

__all__ = ["STEPS"]

LIMIT_MASSES = (1.0, 10.0, 100.0)  # MeV
THRESHOLDS = (0.3, 0.5, 0.7, 1.0, 1.1, 2.0, 3.0)  # keV


def _parameter(name: str, run: Run) -> None:
    """Estimates of one parameter for the three data sets, with and without the flux pull."""
    rows = []
    for dataset in DATASETS:
        for pull in (False, True):
            result = run.estimate(name, dataset, pull)
            i68, i90 = result.interval_68, result.interval_90
            rows.append(
                [
                    dataset,
                    pull,
                    result.best_fit,
                    i68.lower,
                    i68.upper,
                    i90.lower,
                    i90.upper,
                    result.chi2_min,
                    result.significance,
                    result.valid,
                    result.edm,
                ]
            )
    unit = find_parameter(name).unit
    columns = ["dataset", "flux_pull", f"best_fit [{unit}]" if unit else "best_fit"]
    columns += ["lower_68", "upper_68", "lower_90", "upper_90", "chi2_min", "significance", "valid", "edm"]
    tables.write_csv(run.out / f"{name}.csv", columns, rows)
    run.results[name] = [
        {"dataset": dataset} | tables.estimate_json(run.estimate(name, dataset, pull))
        for dataset in DATASETS
        for pull in (False, True)
    ]


def _rates(run: Run) -> None:
    """Events per tonne-year above threshold at full efficiency, for both shapes."""
    target, thresholds = xenon(), jnp.asarray(THRESHOLDS)
    counts = {shape: np.asarray(counts_above(Theory(), b8(shape), target, thresholds)) for shape in B8_SHAPES}
    rows = [[t, *(float(counts[s][i]) for s in B8_SHAPES)] for i, t in enumerate(THRESHOLDS)]
    tables.write_csv(run.out / "rates.csv", ["threshold_keV", *(f"{s} [1/(t y)]" for s in B8_SHAPES)], rows)
    run.results["rates"] = [dict(zip(("threshold_keV", *B8_SHAPES), row, strict=True)) for row in rows]


def _figure_1(run: Run) -> None:
    """Fitted spectra of both experiments."""
    rows = []
    with style.style():
        fig, axes = style.figure(columns=2, width=3.7, height=3.2)
        for ax, dataset in zip(axes, ("pandax4t", "xenonnt"), strict=True):
            likelihood = run.likelihood(dataset, False)
            best = run.estimate("flux", dataset)
            theory = Theory(b8_flux=best.best_fit)
            counts, fit = signal(likelihood, theory), profile(likelihood, theory)
            (name,) = DATASETS[dataset]
            parts = {k: np.asarray(v) for k, v in component_counts(likelihood, counts, fit.pulls)[name].items()}
            title = rf"{plots.LABELS[name]}, $\Phi$ = {best.best_fit / 1e6:.1f} $\times 10^6$ cm$^{{-2}}$s$^{{-1}}$"
            plots.plot_spectrum(run.experiments[name], parts, ax, title)
            edges = run.experiments[name].bin_edges
            for component, values in {**parts, "observed": np.asarray(run.experiments[name].observed)}.items():
                rows += [[name, edges[i], edges[i + 1], component, float(v)] for i, v in enumerate(values)]
        paths = style.save(fig, run.out / "fig1_spectra")
    tables.write_csv(run.out / "fig1_spectra.csv", ["experiment", "bin_lo", "bin_hi", "component", "counts"], rows)
    caption = (
        "Fig. 1. Expected counts fitted to the data at the best-fit 8B flux of each experiment, backgrounds stacked "
        "below the signal; Poisson errors (Garwood, 68.27%). XENONnT: SR0 and SR1 have their own cS2 edges, means are "
        "drawn. PandaX-4T: the counts per bin, data included, are a reconstruction from published totals, not a "
        "measurement."
    )
    run.figures.append((paths[0], caption))


def _figure_2(run: Run) -> None:
    """Profiles of flux and sin2w for the three data sets."""
    ranges = {"flux": np.linspace(0.0, 26e6, 161), "sin2w": np.linspace(find_parameter("sin2w").lower, 0.80, 161)}
    rows = []
    with style.style():
        fig, axes = style.figure(columns=2, width=3.7, height=3.2)
        labels = {
            "flux": (
                r"$^8$B flux [$10^6$ cm$^{-2}$ s$^{-1}$]",
                1e6,
                (B8_FLUX / 1e6, B8_FLUX / 1e6 * B8_RELATIVE_ERROR, "B16-GS98"),
            ),
            "sin2w": (r"$\sin^2\theta_W$ (low energy)", 1.0, (SIN2_THETA_W, 0.0, "RGE")),
        }
        for ax, (name, values) in zip(axes, ranges.items(), strict=True):
            parameter, curves = find_parameter(name), {}
            label, scale, reference = labels[name]
            for dataset, key in STYLE_KEYS.items():
                best = run.estimate(name, dataset)
                chi2, _, _ = profile_curve(run.likelihood(dataset, parameter.flux_pull), parameter, values)
                curves[key] = (values / scale, chi2 - best.chi2_min)
                rows += [
                    [name, dataset, float(x), float(y)] for x, y in zip(values, chi2 - best.chi2_min, strict=True)
                ]
            plots.plot_profiles(curves, label, ax, reference=reference)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        paths = style.save(fig, run.out / "fig2_profiles")
    tables.write_csv(run.out / "fig2_profiles.csv", ["parameter", "dataset", "value", "delta_chi2"], rows)
    caption = (
        "Fig. 2. Profile likelihoods of the 8B flux (12% flux pull off) and of the weak mixing angle (on), one parameter "
        "each; dotted lines at Delta chi2 = 1.00 and 2.71. Left: B16-GS98 prediction with its 12% error. Right: value "
        "extrapolated to zero momentum transfer. The weak mixing angle is drawn above its mirror point -0.108. "
        "PandaX-4T: reconstructed bins."
    )
    run.figures.append((paths[0], caption))


def _figure_4(run: Run) -> None:
    """Exclusion contours of five interactions, three data sets."""
    masses, rows = np.geomspace(1e-2, 1e4, 200), []
    summary: dict[str, Any] = {}
    for dataset in DATASETS:
        prepare(run.likelihood(dataset, True))
    with style.style():
        fig, axes = style.figure(columns=3, width=3.3, height=3.5)
        titles = {"pandax4t": "PandaX-4T (reconstructed)", "xenonnt": "XENONnT", "combined": "combined"}
        for ax, (dataset, title) in zip(axes, titles.items(), strict=True):
            likelihood, found = run.likelihood(dataset, True), {}
            for name in INTERACTIONS:
                found[name] = limits(likelihood, name, masses, minimum="all")
                rows += [[dataset, name, r.mass, low, high] for r in found[name] for low, high in r.excluded]
                summary.setdefault(dataset, {})[name] = {
                    "chi2_min": found[name][0].chi2_min,
                    "delta_chi2": found[name][0].threshold,
                    "masses": len(masses),
                    "masses_not_valid": sum(not r.valid for r in found[name]),
                    "masses_with_allowed_band": sum(len(r.excluded) > 1 for r in found[name]),
                }
            exclusion.plot_exclusion(found, ax, title=title)
        for ax in axes[1:]:
            ax.set_ylabel("")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
        paths = style.save(fig, run.out / "fig4_exclusion")
    columns = ["dataset", "interaction", "mass_MeV", "excluded_from", "excluded_to"]
    tables.write_csv(run.out / "fig4_contours.csv", columns, rows)
    run.results["fig4"] = summary
    caption = (
        "Fig. 4. Excluded at 90% CL, one parameter: Delta chi2 = 2.71 from the minimum over mass and coupling; borders are "
        "roots of the profile at 200 masses. The universal vector is shaded: it interferes destructively, and where its "
        "signal equals that of the Standard Model an allowed band re-opens above an excluded island (XENONnT and "
        "combination). Tensor normalisation from the explicit traces. PandaX-4T: reconstructed bins."
    )
    run.figures.append((paths[0], caption))


def _limits(run: Run) -> None:
    """Limits at a few masses, for the data sets of the paper and for XENONnT's two responses."""
    likelihoods = {dataset: run.likelihood(dataset, True) for dataset in DATASETS}
    unsmeared = experiment("xenonnt-2024-s2", response="unsmeared")
    likelihoods["xenonnt, unsmeared response"] = Likelihood([unsmeared])
    rows = []
    for dataset, likelihood in likelihoods.items():
        for name in INTERACTIONS:
            for found in limits(likelihood, name, LIMIT_MASSES):
                rows.append(
                    {
                        "dataset": dataset,
                        "interaction": name,
                        "mass_MeV": found.mass,
                        "excluded": [list(pair) for pair in found.excluded],
                        "delta_chi2": found.threshold,
                        "valid": found.valid,
                    }
                )
    flat = [
        [r["dataset"], r["interaction"], r["mass_MeV"], low, high, r["delta_chi2"], r["valid"]]
        for r in rows
        for low, high in r["excluded"]
    ]
    columns = ["dataset", "interaction", "mass_MeV", "excluded_from", "excluded_to", "delta_chi2", "valid"]
    tables.write_csv(run.out / "limits.csv", columns, flat)
    run.results["limits"] = rows


def _variant(
    label: str, changed: str, specs: dict[str, dict[str, Any]], pulls: tuple[bool, ...] = ()
) -> list[dict[str, Any]]:
    """Flux and sin2w with some inputs changed."""
    likelihoods: dict[bool, Likelihood] = {}
    built = [experiment(name, **options) for name, options in specs.items()]
    rows = []
    for name in ("flux", "sin2w"):
        for pull in pulls or (find_parameter(name).flux_pull,):
            likelihood = likelihoods.setdefault(pull, Likelihood(built, pull))
            result = estimate(likelihood, name)
            low, high = result.interval_68.lower, result.interval_68.upper
            rows.append(
                {
                    "dataset": label,
                    "changed": changed,
                    "parameter": name,
                    "flux_pull": pull,
                    "best_fit": result.best_fit,
                    "error_up": None if high is None else high - result.best_fit,
                    "error_down": None if low is None else result.best_fit - low,
                    "significance": result.significance,
                    "valid": result.valid,
                }
            )
    return rows


def _systematics(run: Run) -> None:
    """What each choice of input is worth: one changed at a time."""
    x, p = "xenonnt-2024-s2", "pandax4t-us2"
    rows = _variant("xenonnt", "default: released response, Bahcall 1996, c_i to 10.7 events", {x: {}})
    rows += _variant("xenonnt", "unsmeared response (the paper's recipe)", {x: {"response": "unsmeared"}})
    rows += _variant("xenonnt", "Winter 2006 shape", {x: {"shape": "winter2006"}})
    rows += _variant("xenonnt", "c_i to the released template (11.9 events)", {x: {"correction": "template"}})
    rows += _variant("xenonnt", "c_i = 1", {x: {"correction": "none"}})
    rows += _variant("xenonnt", "c_i = 1, unsmeared response", {x: {"correction": "none", "response": "unsmeared"}})
    for table in TABLES:
        default = " (default)" if table == "T1" else ""
        rows += _variant("pandax4t", f"reconstructed table {table}{default}", {p: {"table": table}})
    rows += _variant("pandax4t", "Winter 2006 shape", {p: {"shape": "winter2006"}})
    for field in (84.0, 93.0):
        rows += _variant("pandax4t", f"drift field {field:.0f} V/cm", {p: {"field": field}})
    file_rows(run, "systematics", rows)


def _systematics_grid(run: Run) -> None:
    """Every combination of the discrete choices, for the combined fit."""
    rows = []
    for table in TABLES:
        for response in ("released", "unsmeared"):
            for shape in B8_SHAPES:
                specs = {
                    "xenonnt-2024-s2": {"response": response, "shape": shape},
                    "pandax4t-us2": {"table": table, "shape": shape},
                }
                rows += _variant("combined", f"{table}, {response} response, {shape}", specs, (False, True))
    file_rows(run, "systematics-grid", rows)


STEPS = {
    "flux": Step("8B flux (eqs. 18-20)", partial(_parameter, "flux")),
    "sin2w": Step("weak mixing angle (eqs. 21-23)", partial(_parameter, "sin2w")),
    "rates": Step("events above threshold", _rates),
    "fig1": Step("Fig. 1: spectra", _figure_1),
    "fig2": Step("Fig. 2: profiles", _figure_2),
    "fig3": Step("Fig. 3: running of the weak mixing angle", running.figure_3),
    "fig4": Step("Fig. 4: exclusion of five interactions", _figure_4),
    "fig5": Step("Fig. 5: limits beside other experiments", mediators.figure_5),
    "limits": Step("limits at a few masses, both responses", _limits),
    "systematics": Step("effect of each choice of input", _systematics),
    "posteriors": Step("posteriors beside eqs. 18-23", bayesian.looks),
    "official": Step("XENONnT's own likelihood", official.fits),
    "sampled-posteriors": Step("posteriors by NUTS", bayesian.samples, long=True),
    "official-limits": Step("exclusion with XENONnT's own likelihood", official.exclusions, long=True),
    "official-toys": Step("coverage and intervals by toys", official.toys, long=True),
    "projections": Step("expected sensitivity, 10 to 200 tonne-year", official.projections, long=True),
    "systematics-grid": Step("all combinations of the choices of input", _systematics_grid, long=True),
}
"""Steps in the order they run."""
