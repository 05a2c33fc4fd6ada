"""The steps of `jcevns reproduce`: each computes one result of the paper and files it in the run."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcevns.constants import SIN2_THETA_W
from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import SIGNAL
from jcevns.experiments.pandax4t import TABLES
from jcevns.files import write_csv
from jcevns.fit.interval import profile_curve
from jcevns.likelihood.likelihood import component_counts
from jcevns.paper import bayesian, beyond, exclusion, global_fits, mediators, official, running
from jcevns.paper.estimates import MIRROR, PULL, UNITS, estimate, estimate_json, fit_command
from jcevns.paper.run import DATASETS, LABELS, LINES, Run, Step, file_rows
from jcevns.physics.flux import B8_FLUX, B8_RELATIVE_ERROR, B8_SHAPES, b8
from jcevns.physics.nuclei import xenon
from jcevns.physics.recoil import counts_above
from jcevns.physics.standard_model import StandardModel
from jcevns.plot import style
from jcevns.plot.profiles import plot_profiles
from jcevns.plot.spectrum import plot_spectrum

__all__ = ["STEPS"]

THRESHOLDS = (0.3, 0.5, 0.7, 1.0, 1.1, 2.0, 3.0)  # keV
_SIGNAL = r"$^8$B CE$\nu$NS"


def _parameter(name: str, run: Run) -> None:
    """Estimates of one parameter for the three data sets, with and without the flux pull."""
    found = {(d, pull): run.estimate(name, d, pull) for d in DATASETS for pull in (False, True)}
    unit = UNITS[name]
    columns = ["dataset", "flux_pull", f"best_fit [{unit}]" if unit else "best_fit"]
    columns += ["lower_68", "upper_68", "lower_90", "upper_90", "chi2_min", "significance", "valid", "edm"]
    rows = [
        [*key, e.best_fit, *e.interval_68, *e.interval_90, e.chi2_min, e.significance, e.valid, e.edm]
        for key, e in found.items()
    ]
    write_csv(run.out / f"{name}.csv", columns, rows)
    run.results[name] = [
        {"dataset": dataset}
        | estimate_json(e)
        | {"command": fit_command(name, {one: {} for one in DATASETS[dataset]}, pull)}
        for (dataset, pull), e in found.items()
    ]


def _rates(run: Run) -> None:
    """Events per tonne-year above threshold at full efficiency, for both shapes."""
    target, thresholds = xenon(), jnp.asarray(THRESHOLDS)
    counts = {shape: np.asarray(counts_above(StandardModel(), b8(shape), target, thresholds)) for shape in B8_SHAPES}
    rows = [[t, *(float(counts[s][i]) for s in B8_SHAPES)] for i, t in enumerate(THRESHOLDS)]
    write_csv(run.out / "rates.csv", ["threshold_keV", *(f"{s} [1/(t y)]" for s in B8_SHAPES)], rows)
    run.results["rates"] = [dict(zip(("threshold_keV", *B8_SHAPES), row, strict=True)) for row in rows]


def _figure_1(run: Run) -> None:
    """Fitted spectra of both experiments."""
    rows = []
    with style.style():
        fig, axes = style.figure(columns=2, width=3.7, height=3.2)
        for ax, dataset in zip(axes, ("pandax4t", "xenonnt"), strict=True):
            likelihood, best = run.likelihood(dataset), run.estimate("flux", dataset)
            (name,) = DATASETS[dataset]
            counts = jax.jit(partial(component_counts, likelihood))(best.values(likelihood))
            built = run.experiments[name]
            parts = {k: np.asarray(counts[name][k]) for k in (SIGNAL, *built.backgrounds)}
            title = rf"{LABELS[dataset]}, $\Phi$ = {best.best_fit / 1e6:.1f} $\times 10^6$ cm$^{{-2}}$s$^{{-1}}$"
            plot_spectrum(built, parts, ax, title, _SIGNAL)
            edges = built.bin_edges
            for component, values in {**parts, "observed": np.asarray(built.observed)}.items():
                rows += [[name, edges[i], edges[i + 1], component, float(v)] for i, v in enumerate(values)]
        paths = style.save(fig, run.out / "fig1_spectra")
    write_csv(run.out / "fig1_spectra.csv", ["experiment", "bin_lo", "bin_hi", "component", "counts"], rows)
    caption = (
        "Fig. 1. Expected counts fitted to the data at the best-fit 8B flux of each experiment, backgrounds stacked "
        "below the signal; Poisson errors (Garwood, 68.27%). XENONnT: SR0 and SR1 have their own cS2 edges, means "
        "are drawn. PandaX-4T: the counts per bin, data included, are a reconstruction from published totals, not a "
        "measurement."
    )
    run.figures.append((paths[0], caption))


def _figure_2(run: Run) -> None:
    """Profiles of flux and sin2w for the three data sets."""
    ssm = (B8_FLUX / 1e6, B8_FLUX / 1e6 * B8_RELATIVE_ERROR, "B16-GS98")
    panels: dict[str, tuple[Any, ...]] = {
        "flux": (np.linspace(0.0, 26e6, 161), r"$^8$B flux [$10^6$ cm$^{-2}$ s$^{-1}$]", 1e6, ssm),
        "sin2w": (np.linspace(MIRROR, 0.80, 161), r"$\sin^2\theta_W$ (low energy)", 1.0, (SIN2_THETA_W, 0.0, "RGE")),
    }
    rows = []
    with style.style():
        fig, axes = style.figure(columns=2, width=3.7, height=3.2)
        for ax, (name, (values, label, scale, reference)) in zip(axes, panels.items(), strict=True):
            curves = {}
            for dataset in LINES:
                best = run.estimate(name, dataset)
                rise = profile_curve(run.likelihood(dataset), name, values) - best.chi2_min
                curves[dataset] = (values / scale, rise)
                rows += [[name, dataset, float(x), float(y)] for x, y in zip(values, rise, strict=True)]
            plot_profiles(curves, label, ax, reference=reference, styles=LINES)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        paths = style.save(fig, run.out / "fig2_profiles")
    write_csv(run.out / "fig2_profiles.csv", ["parameter", "dataset", "value", "delta_chi2"], rows)
    caption = (
        "Fig. 2. Profile likelihoods of the 8B flux (12% flux pull off) and of the weak mixing angle (on), one "
        "parameter each; dotted lines at Delta chi2 = 1.00 and 2.71. Left: B16-GS98 prediction with its 12% error. "
        "Right: value extrapolated to zero momentum transfer. The weak mixing angle is drawn above its mirror point "
        "-0.108. PandaX-4T: reconstructed bins."
    )
    run.figures.append((paths[0], caption))


def _variant(
    label: str, changed: str, specs: dict[str, dict[str, Any]], pulls: tuple[bool, ...] = ()
) -> list[dict[str, Any]]:
    """Flux and sin2w with some inputs changed."""
    built = [experiment(name, **options) for name, options in specs.items()]
    return [
        {"dataset": label, "changed": changed, "parameter": name, "flux_pull": pull}
        | estimate(name, built, pull).row
        | {"command": fit_command(name, specs, pull)}
        for name in PULL
        for pull in pulls or (PULL[name],)
    ]


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
    rows += _variant("pandax4t", "fluctuating number of electrons (binomial)", {p: {"response": "binomial"}})
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
    "fig4": Step("Fig. 4: exclusion of five interactions", exclusion.figure_4),
    "fig5": Step("Fig. 5: limits beside other experiments", mediators.figure_5),
    "limits": Step("limits at a few masses, both responses", exclusion.few_masses),
    "systematics": Step("effect of each choice of input", _systematics),
    "posteriors": Step("posteriors beside eqs. 18-23", bayesian.looks),
    "official": Step("XENONnT's own likelihood", official.fits),
    "electromagnetic": Step("beyond the paper: magnetic moments and charge radii", beyond.electromagnetic),
    "sampled-posteriors": Step("posteriors by NUTS", bayesian.samples, long=True),
    "official-limits": Step("exclusion with XENONnT's own likelihood", exclusion.official_limits, long=True),
    "official-toys": Step("coverage and intervals by toys", official.toys, long=True),
    "projections": Step("expected sensitivity, 10 to 200 tonne-year", official.projections, long=True),
    "radii": Step("beyond the paper: neutron radius and weak mixing angle", beyond.radii, long=True),
    "gauge-bosons": Step("beyond the paper: gauge bosons by name", beyond.gauge_bosons, long=True),
    "nsi": Step("beyond the paper: non-standard interactions", beyond.non_standard, long=True),
    "global-sin2w": Step("all CEvNS data: weak mixing angle", global_fits.weak_mixing_angle, long=True),
    "global-nsi": Step("all CEvNS data: non-standard interactions", global_fits.non_standard, long=True),
    "global-radius": Step("all CEvNS data: nuclear radii", global_fits.radius, long=True),
    "global-mediators": Step("all CEvNS data: light mediators", global_fits.mediators, long=True),
    "systematics-grid": Step("all combinations of the choices of input", _systematics_grid, long=True),
}
"""Steps in the order they run."""
