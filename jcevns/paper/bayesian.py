"""Steps of `jcevns reproduce` with posteriors: the Laplace grid at once, NUTS with `--full`."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns.constants import SIN2_THETA_W
from jcevns.files import write_csv
from jcevns.fit.interval import profile_curve
from jcevns.paper import tables
from jcevns.paper.estimates import MIRROR
from jcevns.paper.run import DATASETS, LINES, Run, file_rows
from jcevns.physics.flux import B8_FLUX, B8_RELATIVE_ERROR
from jcevns.plot import style
from jcevns.statistics.laplace import GridPosterior, laplace
from jcevns.statistics.priors import Prior, parse_prior
from jcevns.statistics.sample import sample

__all__ = ["looks", "samples"]

NODES = 400
NAMES = {"flux": "flux.b8", "sin2w": "sin2w"}
PRIORS = {"flux": Prior("uniform", 0.0, 40e6), "sin2w": Prior("uniform", MIRROR, SIN2_THETA_W + 1.0)}
GRIDS = {"flux": np.linspace(0.0, 40e6, NODES), "sin2w": np.linspace(MIRROR, 1.2386, NODES)}
SHOWN = {"flux": (0.0, 26e6), "sin2w": (-0.11, 0.8)}
AXES = {"flux": (r"$^8$B flux [$10^6$ cm$^{-2}$ s$^{-1}$]", 1e6), "sin2w": (r"$\sin^2\theta_W$", 1.0)}
SOLAR_MODEL = Prior("truncated", 0.0, np.inf, B8_FLUX, B8_RELATIVE_ERROR * B8_FLUX)
"""Of the flux beside sin2w: the rate alone cannot tell the two apart."""

COUPLING = ("scalar", 10.0)  # interaction and mass in MeV of the example
COUPLING_PRIORS = ("log-uniform:1e-7:1e-3", "log-uniform:1e-9:1e-3", "uniform:0:1e-3")
COUPLING_GRID = np.concatenate([[0.0], np.geomspace(1e-9, 1e-3, 1200)])
CHAINS, SAMPLES, WARMUP, SEED = 16, 2000, 1000, 20241118
_CENTRAL = (0.1586552539, 0.5, 0.8413447461)


def _inside(axis: np.ndarray, prior: Prior) -> np.ndarray:
    """Grid within the support of a prior, its edges included."""
    low, high = max(prior.low, axis[0]), min(prior.high, axis[-1])
    return np.unique(np.concatenate([[low], axis[(axis > low) & (axis < high)], [high]]))


def _row(run: Run, paper: tables.Comparison, grid: GridPosterior) -> dict[str, Any]:
    """A posterior beside the paper's line and our profile."""
    profile = run.estimate(paper.quantity, paper.dataset)
    low, median, high = (grid.quantile(NAMES[paper.quantity], p) for p in _CENTRAL)
    return {
        "equation": paper.equation,
        "quantity": paper.quantity,
        "dataset": paper.dataset,
        "prior": str(PRIORS[paper.quantity]),
        "median": median,
        "lower_68": low,
        "upper_68": high,
        "paper": paper.paper[0],
        "paper_up": paper.paper[1],
        "paper_down": paper.paper[2],
        "profile": profile.best_fit,
        "profile_lower_68": profile.interval_68[0],
        "profile_upper_68": profile.interval_68[1],
    }


def _draw(ax: Axes, run: Run, name: str, found: dict[str, GridPosterior]) -> None:
    """Densities of the three data sets, and the profile likelihood of their combination."""
    (label, scale), full = AXES[name], NAMES[name]
    top = 0.0
    for dataset, grid in found.items():
        x, density = grid.axes[full], grid.marginal(full) * scale
        ax.plot(x / scale, density, **LINES[dataset])
        top = max(top, float(density.max()))
        if dataset == "combined":
            low, _, high = (grid.quantile(full, p) for p in _CENTRAL)
            inside = (x >= low) & (x <= high)
            ax.fill_between(x[inside] / scale, density[inside], color="#DDDDDD", lw=0, label="combined, central 68%")
    x = np.linspace(*SHOWN[name], 161)
    x = x[x >= GRIDS[name][0]]
    chi2 = profile_curve(run.likelihood("combined"), full, x)
    curve = np.exp(-(chi2 - np.nanmin(chi2)) / 2)
    shown = curve * top / np.nanmax(curve)
    ax.plot(x / scale, shown, color="#009E73", lw=1.2, ls=(0, (4, 3)), label="combined, profile (scaled)")
    ax.set_xlim(*(v / scale for v in SHOWN[name]))
    ax.set_ylim(0, 1.45 * top)
    ax.set_xlabel(label)
    ax.set_ylabel("posterior density")


def looks(run: Run) -> None:
    """Posteriors of flux and sin2w by Laplace's method beside eqs. 18-23, and what the prior of a coupling does."""
    rows, grids = [], {}
    for name, axis in GRIDS.items():
        for paper in tables.compare({(name, dataset): run.estimate(name, dataset) for dataset in DATASETS}):
            grid = laplace(run.likelihood(paper.dataset), {NAMES[name]: axis}, {NAMES[name]: PRIORS[name]})
            grids.setdefault(name, {})[paper.dataset] = grid
            rows.append(_row(run, paper, grid))
    interaction, mass = COUPLING
    likelihood, sensitivity, couplings = run.likelihood("combined", interaction), [], {}
    for text in COUPLING_PRIORS:
        prior = parse_prior(text)
        axes = {"coupling": _inside(COUPLING_GRID, prior)}
        grid = laplace(likelihood, axes, {"coupling": prior}, at={"mass": mass})
        couplings[text] = grid
        sensitivity.append({"interaction": interaction, "mass_MeV": mass, "dataset": "combined", "prior": text,
                            "upper_90": grid.quantile("coupling", 0.90)})  # fmt: skip
    with style.style():
        fig, axes = style.figure(columns=3, width=3.4, height=3.2)
        for ax, name in zip(axes, GRIDS, strict=False):
            _draw(ax, run, name, grids[name])
        _draw_coupling(axes[2], couplings)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=8)
        paths = style.save(fig, run.out / "posteriors")
    file_rows(run, "posteriors", rows)
    write_csv(run.out / "coupling_priors.csv", list(sensitivity[0]), [list(row.values()) for row in sensitivity])
    run.results["coupling-priors"] = sensitivity
    caption = (
        "Posteriors with uniform priors (flux from 0 to 4e7 cm^-2 s^-1 without the 12% pull; sin^2(theta_W) from the "
        "mirror point, with it), nuisances integrated by Laplace's method; green: profile likelihood of the "
        "combination, scaled to the same height. "
        f"Right: a {interaction} coupling at {mass:g} MeV under three priors, with its 90% upper ends (dotted): a "
        "logarithmic prior has no lower end of its own, and the limit follows the one it is given. PandaX-4T: "
        "reconstructed bins."
    )
    run.figures.append((paths[0], caption))


def _draw_coupling(ax: Axes, found: dict[str, GridPosterior]) -> None:
    """Densities per decade of a coupling, one line per prior, with the 90% upper end."""
    colours = ("#0072B2", "#D55E00", "#000000")
    top = 0.0
    for colour, (text, grid) in zip(colours, found.items(), strict=True):
        x = grid.axes["coupling"]
        shown = x >= 1e-7
        density = grid.marginal("coupling")[shown] * x[shown] * np.log(10)
        ax.plot(x[shown], density, color=colour, label=text.replace(":", " ", 1).replace(":", "–"))
        end = grid.quantile("coupling", 0.90)
        ax.vlines(end, 0, float(np.interp(end, x[shown], density)), color=colour, lw=0.9, ls=":")
        top = max(top, float(density.max()))
    ax.set_xscale("log")
    ax.set_xlim(1e-7, 2e-5)
    ax.set_ylim(0, 1.45 * top)
    ax.set_xlabel(rf"{COUPLING[0]} coupling at {COUPLING[1]:g} MeV")
    ax.set_ylabel("posterior density per decade")
    ax.legend(fontsize=8, loc="upper right")


def samples(run: Run) -> None:
    """NUTS for the three data sets: flux alone, sin2w alone, both with the 12% prior of the solar model."""
    rows = []
    for names in (["flux"], ["sin2w"], ["flux", "sin2w"]):
        priors = {NAMES[n]: PRIORS[n] for n in names} | ({NAMES["flux"]: SOLAR_MODEL} if len(names) > 1 else {})
        for dataset in DATASETS:
            found = sample(
                run.likelihood(dataset),
                list(priors),
                priors,
                chains=CHAINS,
                samples=SAMPLES,
                warmup=WARMUP,
                seed=SEED,
            )
            for name in names:
                marginal = found.parameters[NAMES[name]]
                rows.append(
                    {
                        "dataset": dataset,
                        "sampled": "+".join(names),
                        "quantity": name,
                        "prior": marginal.prior,
                        "median": marginal.median,
                        "lower_68": marginal.quantiles_68[0],
                        "upper_68": marginal.quantiles_68[1],
                        "mean": marginal.mean,
                        "sd": marginal.sd,
                        "r_hat": marginal.r_hat,
                        "ess_bulk": marginal.ess_bulk,
                        "ess_tail": marginal.ess_tail,
                        "divergences": found.divergences,
                        "seconds": found.seconds,
                        "problems": "; ".join(found.problems),
                    }
                )
    file_rows(run, "sampled-posteriors", rows)
