"""Why three rates of Borexino do not reach its limit on the magnetic moment: `python -m benchmarks.borexino_moment`.

The limits of `borexino-phase2` with other constraints of the fluxes, and those expected (Asimov, quadratic in the
square of the moment) of a spectrum with the exposure and backgrounds of phase II, in the response and background
shapes of `borexino-phase3`. Gallium: the sum of captures as one Gaussian number, survival as everywhere here.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jcevns as jc
from jcevns.detectors.response import Response, legendre_panels
from jcevns.experiments import borexino, borexino_spectrum
from jcevns.experiments.experiment import Channel, unfitted_counts
from jcevns.physics.flux import b8
from jcevns.physics.interaction import Interaction
from jcevns.physics.sources import solar_component

__all__ = ["HEAD", "PUBLISHED", "RATES", "RESULTS", "SPECTRA", "Variant", "capture_rates", "cells", "limit"]

RESULTS = Path(__file__).parent / "results" / "borexino_moment.json"
PUBLISHED = 28.0  # 1e-12 mu_B, arXiv:1707.09355
DELTA = 2.705543454
UNIT = 10.0  # 1e-12 mu_B: moment of the templates

EXPOSURE = 1291.51 * 0.713
"""Days times 100 t of phase II (arXiv:1707.09279) [recalled]."""

BACKGROUNDS = {
    "krypton85": 6.8,
    "bismuth210": 17.5,
    "polonium210": 260.0,
    "external_bismuth214": 1.9,
    "external_potassium40": 1.0,
    "external_thallium208": 3.3,
}
"""Per day and 100 t in phase II (arXiv:1707.09279) [recalled]."""

PARTS = ((0.643, 3.2), (0.357, 69.3))
"""Share of the exposure and rate of 11C without and with the threefold coincidence [recalled: 26.8, 92% tagged]."""

CAPTURE = {"pp": 11.72, "pep": 204.0, "be7": 71.7}  # 1e-46 cm^2, hep-ph/9710491 [recalled]
GALLIUM_ERROR = 3.1  # SNU, of 66.1 (arXiv:0901.2200)
GALLIUM = 66.1
OTHER_CAPTURES = {"n13": 60.4, "o15": 113.7, "f17": 113.9, "b8": 24000.0}  # as CAPTURE
LAST = 1970.0  # keV: end of the spectrum
LOWEST = 60.0  # keV: lowest recoil, the response is continued below 150 keV


class Variant(NamedTuple):
    """What a limit uses.

    Attributes:
        fluxes: what is known of pp and 7Be: `model` (B16-GS98), `low-z` (B16-AGSS09met), `fixed`, `free`, each with
            `+gallium` or without. pep is as in the model if pp and 7Be are free.
        from_keV: where the spectrum begins; None for the three rates.
        krypton: relative error of 85Kr known from elsewhere.
    """

    fluxes: str
    from_keV: float | None = None
    krypton: float | None = None


RATES = tuple(map(Variant, ("model", "low-z", "fixed", "model+gallium", "free+gallium")))
SPECTRA = (
    Variant("free+gallium", 190.0),
    Variant("free+gallium", 230.0),
    Variant("free+gallium", 320.0),
    Variant("free", 190.0),
    Variant("model", 190.0),
    Variant("free+gallium", 190.0, 0.05),
)
HEAD = ["data", "pp and 7Be fluxes", "from [keV]", "85Kr", "moment, 90% [$10^{-12}\\mu_B$]", "over 28"]
NAMES = ("pp", "pep", "be7")
_WORDS = {"model": "B16-GS98", "low-z": "B16-AGSS09met", "fixed": "exactly known", "free": "free"}


def _survival(source: str, energy: float) -> float:
    table = jc.datasets.read_table("solar_survival")
    return float(np.interp(energy, table["energy_MeV"], table[source]))


@cache
def capture_rates() -> tuple[dict[str, float], float]:
    """SNU of pp, pep and 7Be by the fluxes of the model, and of all others."""
    table = jc.datasets.read_table("solar_fluxes_b16")
    flux = dict(zip(table["source"], table["gs98_cm2_s"], strict=True))
    names = {"be7": "7Be", "n13": "13N", "o15": "15O", "f17": "17F", "b8": "8B"}
    middle = {"pp": ("pp", 0.3), "pep": ("be7", 1.44), "be7": ("be7", 0.862), "b8": ("b8", 9.0)}
    found = {
        name: float(flux[names.get(name, name)]) * section * 1e-10 * _survival(*middle.get(name, ("be7", 0.8)))
        for name, section in {**CAPTURE, **OTHER_CAPTURES}.items()
    }
    return {name: found[name] for name in NAMES}, sum(found[name] for name in OTHER_CAPTURES)


def _widths(fluxes: str) -> dict[str, float | None]:
    """Relative errors of the fluxes, None where free."""
    known = fluxes.removesuffix("+gallium")
    if known == "fixed":
        return dict.fromkeys(NAMES, 1e-6)
    if known == "free":
        return {"pp": None, "pep": 0.01, "be7": None}
    records = {name: solar_component(name, _model(fluxes)).parameter for name in NAMES}
    return {name: record.sigma / record.default for name, record in records.items()}


def _model(fluxes: str) -> str:
    return "agss09met" if fluxes == "low-z" else "gs98"


@cache
def _rates(model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rates of the Standard Model, what `UNIT` adds, the data, their inverse covariance."""
    table = jc.datasets.read_table("borexino_phase2_rates")
    inverse = np.stack([table[f"inverse_{name}"] for name in NAMES], axis=1)
    one = jc.experiment("borexino-phase2", solar_model=model)
    below = np.array([np.sum(one.backgrounds[name]) for name in NAMES])
    scale = (np.asarray(one.observed) - below) / table["rate"]
    standard, moment = (
        np.asarray(jc.signal_counts(one, theory)) / scale
        for theory in (jc.StandardModel(), jc.MagneticMoment(moment=UNIT))
    )
    return standard, moment - standard, table["rate"], inverse


def _of_rates(fluxes: str) -> float:
    """Limit of the data: chi2 over the factors of the fluxes is quadratic, its rise from the minimum is not."""
    from scipy.optimize import brentq, minimize_scalar

    standard, added, rate, inverse = _rates(_model(fluxes))
    captures, others = capture_rates()

    def chi2(moment: float) -> float:
        rates = standard + (moment / UNIT) ** 2 * added
        rows, values = [np.linalg.cholesky(inverse).T * rates], [np.linalg.cholesky(inverse).T @ rate]
        for k, width in enumerate(_widths(fluxes).values()):
            if width is not None:
                rows.append(np.eye(3)[k : k + 1] / width)
                values.append(np.array([1.0 / width]))
        if fluxes.endswith("+gallium"):
            rows.append(np.array([[captures[name] for name in NAMES]]) / GALLIUM_ERROR)
            values.append(np.array([GALLIUM - others]) / GALLIUM_ERROR)
        A, y = np.concatenate(rows), np.concatenate(values)
        return float(np.sum((A @ np.linalg.lstsq(A, y, rcond=None)[0] - y) ** 2))

    best: Any = minimize_scalar(chi2, bounds=(0.0, 60.0), method="bounded")
    lowest, start = (best.fun, best.x) if best.fun < chi2(0.0) else (chi2(0.0), 0.0)
    end: Any = brentq(lambda m: chi2(m) - lowest - DELTA, start, 300.0)
    return float(end)


@cache
def _recoils(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in keV, counts of the Standard Model and of what `UNIT` adds there, per day and 100 t."""
    flux = b8() if name == "b8" else solar_component(name)
    top, width = borexino_spectrum._PANELS[name]
    ends = np.concatenate([np.arange(LOWEST, top, width), [top], borexino.recoil_ends(flux)])
    recoil, weight = (x.ravel() for x in legendre_panels(np.unique(ends), 4))
    channel = Channel(flux, borexino.scintillator_electrons(), Response(recoil, np.diag(weight)))

    def counts(theory: Interaction) -> np.ndarray:
        return np.asarray(unfitted_counts(theory, channel)) * borexino.PER_DAY_100T

    standard = counts(jc.StandardModel())
    return recoil, standard, counts(jc.MagneticMoment(moment=UNIT)) - standard


class _Templates(NamedTuple):
    """Counts per day and 100 t in the bins, by component, and of `UNIT`, at one calibration."""

    moment: np.ndarray
    components: dict[str, np.ndarray]
    carbon11: np.ndarray


def _edges(from_keV: float) -> np.ndarray:
    return np.arange(from_keV, LAST + 1.0, 5.0)


@cache
def _shapes(from_keV: float) -> dict[str, np.ndarray]:
    """Backgrounds of one per day and 100 t at all positions of the calibration, shape (position, bin)."""
    tables = borexino_spectrum._tables(1)
    rate = tables.number | {"start_rate_bismuth210": tables.number["bismuth210_limit"]}
    counts = borexino_spectrum._backgrounds(tables._replace(edges=_edges(from_keV), exposure=1.0))
    return {name: rows / rate[f"start_rate_{name}"] for name, rows in counts.items()}


def _templates(from_keV: float, at: borexino_spectrum.Calibration) -> _Templates:
    edges, errors = _edges(from_keV), borexino_spectrum._tables(1).errors
    moment, found = np.zeros(edges.size - 1), {}
    for name in ("pp", "be7", "pep", "cno", "b8"):
        recoil, standard, added = _recoils(name)
        kept = borexino_spectrum.calibrated(*borexino_spectrum.simulated_energy(recoil), edges, errors, at)
        found[name] = kept @ standard
        moment = moment + kept @ added
    place = list(borexino_spectrum._positions()).index(at)
    units = {name: rows[place] for name, rows in _shapes(from_keV).items()}
    return _Templates(moment, found | {n: r * units[n] for n, r in BACKGROUNDS.items()}, units["carbon11"])


@cache
def _jacobian(from_keV: float) -> tuple[list[str], np.ndarray]:
    """Names, and derivatives of the counts over their roots: `moment` squared first, then what is fitted with it."""
    here = _templates(from_keV, borexino_spectrum.Calibration())
    moved = [
        [_templates(from_keV, borexino_spectrum.Calibration(**{name: side})) for side in (1.0, -1.0)]
        for name in borexino_spectrum.Calibration._fields
    ]
    blocks = []
    for k, (share, rate) in enumerate(PARTS):

        def counts(one: _Templates, weight: float = EXPOSURE * share, rate: float = rate) -> np.ndarray:
            return weight * (sum(one.components.values()) + rate * one.carbon11)

        weight, total = EXPOSURE * share, counts(here)
        carbon = [weight * rate * here.carbon11 * (k == other) for other in range(len(PARTS))]
        shifts = [(counts(up) - counts(down)) / 2 for up, down in moved]
        rows = [weight * here.moment, *(weight * part for part in here.components.values()), *carbon, *shifts]
        blocks.append(np.stack(rows) / np.sqrt(total))
    names = ["moment", *here.components, "carbon_kept", "carbon_tagged", *borexino_spectrum.Calibration._fields]
    return names, np.concatenate(blocks, axis=1)


def _of_spectrum(variant: Variant) -> float:
    """Limit expected without a moment."""
    names, rows = _jacobian(float(variant.from_keV or 0.0))
    information = rows @ rows.T
    widths = {"b8": 0.12, "cno": 1e-6, **dict.fromkeys(borexino_spectrum.Calibration._fields, 1.0)}
    widths |= {name: width for name, width in _widths(variant.fluxes).items() if width is not None}
    if variant.krypton is not None:
        widths["krypton85"] = variant.krypton
    for name, width in widths.items():
        information[names.index(name), names.index(name)] += 1 / width**2
    if variant.fluxes.endswith("+gallium"):
        captures = np.array([capture_rates()[0].get(name, 0.0) for name in names])
        information += np.outer(captures, captures) / GALLIUM_ERROR**2
    error = np.sqrt(np.linalg.inv(information)[0, 0])
    return float(UNIT * np.sqrt(np.sqrt(DELTA) * error))


def limit(variant: Variant) -> float:
    """90% limit on the moment in 1e-12 mu_B."""
    return _of_rates(variant.fluxes) if variant.from_keV is None else _of_spectrum(variant)


def cells() -> list[list[str]]:
    """Rows of the table of the site, below `HEAD`."""
    found = []
    values = json.loads(RESULTS.read_text(encoding="utf-8"))["limits"]
    for variant, value in zip((*RATES, *SPECTRA), values, strict=True):
        known, _, gallium = variant.fluxes.partition("+")
        rates = variant.from_keV is None
        krypton = "" if rates else "free" if variant.krypton is None else f"known to {variant.krypton:.0%}"
        found.append(
            [
                "three rates" if rates else "spectrum, expected",
                _WORDS[known] + (", sum by gallium" if gallium else ""),
                "190" if rates else f"{variant.from_keV:.0f}",
                krypton,
                f"{value:.1f}",
                f"{value / PUBLISHED:.2f}",
            ]
        )
    return found


def main() -> None:
    """Measure and write."""
    limits = [limit(variant) for variant in (*RATES, *SPECTRA)]
    RESULTS.write_text(json.dumps({"limits": limits}, indent=1) + "\n", encoding="utf-8")
    for line in cells():
        print(" | ".join(line))


if __name__ == "__main__":
    from jax import config

    config.update("jax_enable_x64", True)
    main()
