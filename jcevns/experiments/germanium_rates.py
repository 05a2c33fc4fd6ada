"""CEvNS on germanium by its rate alone: CONUS+ at a reactor, COHERENT's Ge-Mini at the SNS."""

import numpy as np

from jcevns import datasets
from jcevns.detectors.quenching import germanium_quenching
from jcevns.detectors.response import Response, legendre_panels
from jcevns.detectors.smearing import smeared_response
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment, unfitted_counts
from jcevns.experiments.gaussian import EffectiveCounts, gaussian_counts, skewed_counts
from jcevns.experiments.nuisances import Nuisance
from jcevns.physics.nuclei import germanium
from jcevns.physics.sources import reactor, spallation
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import check_options

__all__ = ["coherent_ge_2024", "coherent_ge_2026", "conus_plus_2025", "window_response"]

NEUTRINOS_PER_PROTON = 0.0848  # of each flavour, as for CsI
RATE = "rate, in units of its error"


def _numbers() -> dict[str, tuple[float, float, float]]:
    """Values and errors, up and down, by name."""
    table = datasets.read_table("germanium_rates")
    names, *columns = (table[key].tolist() for key in ("quantity", "value", "error_up", "error_down"))
    return {name: (value, up, down) for name, value, up, down in zip(names, *columns, strict=True)}


def window_response(low: float, high: float, quenching: str, k: float, exposure: float, panels: int = 96) -> Response:
    """Nuclear recoils in germanium whose ionisation energy is in a window, sharp and fully efficient.

    Args:
        low: end of the window, keV of ionisation.
        high: other end.
        quenching: see `jcevns.detectors.germanium_quenching`.
        k: of the Lindhard model.
        exposure: tonne-year.
        panels: of four nodes.
    """
    fine = np.geomspace(1e-2, 1e3, 20001)
    seen = fine * germanium_quenching(quenching, k)(fine)
    lowest, highest = map(float, np.interp([low, high], seen, fine))
    recoil, weight = (x.ravel() for x in legendre_panels(np.linspace(lowest, highest, panels + 1), 4))
    return Response(recoil, weight[None] * exposure)


def _rate(
    name: str, channel: Channel, counts: EffectiveCounts, events: float, nuisances: tuple[Nuisance, ...], **labels
) -> Experiment:
    """One bin whose signal is `events` times the ratio to the Standard Model, in the unit of what was measured."""
    expected = float(np.sum(unfitted_counts(StandardModel(), channel)))
    response = channel.response.times(events * float(counts.scale) / expected)
    return Experiment(
        name=name,
        channels=Channel(channel.flux, channel.target, response),
        observed=[float(counts.observed)],
        backgrounds={"plinth": [float(counts.plinth)]},
        nuisances=nuisances,
        observable=RATE,
        **labels,
    )


def conus_plus_2025(k: float = 0.162, threshold: float = 0.16) -> Experiment:
    """CONUS+ at the Leibstadt reactor (arXiv:2501.05206): 395 +- 106 CEvNS events, 347 +- 59 predicted; rate only.

    The Standard Model is normalised to the prediction, whose error is a nuisance of the signal; a theory changes the
    counts as it does in the assumed window. The error of the counts is Gaussian, on a plinth.

    Args:
        k: of the Lindhard model [0.162 recalled].
        threshold: keV of ionisation, where the window begins; it ends at 0.8 keV [assumed]. The publication has 160
            to 180 eV, by detector; resolution 20 eV [recalled].

    Raises:
        ValueError: an option out of range.
    """
    number = _numbers()
    high, noise = number["conus_window_end"][0], number["conus_noise"][0] * 1e-3
    if not 0.05 <= threshold < high:
        raise ValueError(f"conus-plus-2025: threshold {threshold!r} must be from 0.05 keV to below {high:g} keV")
    panels = np.concatenate([np.geomspace(0.01, 0.5, 16), np.linspace(0.55, 2.0, 16)])
    response = smeared_response(
        [threshold, high], 1.0, {"constant": noise}, quenching=germanium_quenching("lindhard", k), panels=panels
    )
    flux = reactor(spectra="tables", captures=1.2, name="leibstadt")
    observed, predicted = number["conus_observed"], number["conus_predicted"]
    counts = gaussian_counts(observed[0], observed[1])
    prediction = Nuisance("prediction", predicted[1] / predicted[0], (SIGNAL,))
    return _rate(
        "conus-plus-2025",
        Channel(flux, germanium(), response),
        counts,
        predicted[0],
        (prediction,),
        status="transcribed",
        notes=(
            "rate only: one bin stands for 395 +- 106 events, 347 +- 59 predicted",
            f"window {threshold:g} to {high:g} keV, Lindhard k = {k:g}, resolution, fissions: assumed or recalled",
        ),
        tables=("germanium_rates", "germanium_isotopes", "reactor_spectra_tables"),
        runs=("CONUS+ run 1",),
    )


def _sns_channel(k: float) -> Channel:
    """One kilogram at the SNS for the exposure of 2024."""
    number = _numbers()
    response = window_response(number["ge_threshold"][0], number["ge_window_end"][0], "lindhard", k, 1e-3)
    protons = number["ge_2024_exposure"][0] * number["ge_protons_per_GWh"][0]
    return Channel(spallation(protons, NEUTRINOS_PER_PROTON, number["ge_distance"][0]), germanium(), response)


def _window_note(k: float) -> str:
    number = _numbers()
    return (
        f"window {number['ge_threshold'][0]:g} to {number['ge_window_end'][0]:g} keV, fully efficient, Lindhard "
        f"k = {k:g}: assumed"
    )


def coherent_ge_2024(k: float = 0.157, errors: str = "skewed", prediction: str = "recalled") -> Experiment:
    """COHERENT's Ge-Mini, first result (arXiv:2406.13806): 20.6 +7.1 -6.3 CEvNS events in 10.22 GWh kg; rate only.

    Args:
        k: of the Lindhard model.
        errors: `skewed` has the one Poisson bin, on a plinth, whose Delta chi2 = 1 interval is +7.1 -6.3; `mean` a
            Gaussian of 6.7.
        prediction: of the Standard Model. `recalled` is 35.1 events [recalled; the data are two standard deviations
            below, as published]; `computed` ours, from exposure, window and the neutrinos per proton of CsI, 30.9
            events, which are 1.3 above.

    Raises:
        ValueError: unknown option, k out of range.
    """
    known = {"errors": ("skewed", "mean"), "prediction": ("recalled", "computed")}
    check_options("coherent-ge-2024", known, errors=errors, prediction=prediction)
    channel, number = _sns_channel(k), _numbers()
    value, up, down = number["ge_2024_observed"]
    counts = skewed_counts(value, up, down) if errors == "skewed" else gaussian_counts(value, (up + down) / 2)
    computed = float(np.sum(unfitted_counts(StandardModel(), channel)))
    events = computed if prediction == "computed" else number["ge_2024_predicted"][0]
    return _rate(
        "coherent-ge-2024",
        channel,
        counts,
        events,
        (),
        status="transcribed",
        notes=(
            f"rate only: one bin stands for 20.6 +7.1 -6.3 events, Standard Model {events:.1f} [{prediction}]",
            f"{_window_note(k)}; distance recalled, protons per GWh those of CsI",
        ),
        tables=("germanium_rates", "germanium_isotopes"),
        runs=("COHERENT Ge-Mini",),
    )


def coherent_ge_2026(k: float = 0.157, errors: str = "ratio") -> Experiment:
    """COHERENT's Ge-Mini, second result (arXiv:2603.17951): cross section 1.00 +- 0.10 +- 0.10 times that of the SM.

    Rate only. The second error is that of the flux at the SNS, 10%, which the other experiments there share
    [inferred]. It may hold the events of 2024: they are not combined.

    Args:
        k: of the Lindhard model.
        errors: of the first: `ratio` is the published 0.10; `counts` the mean of +14 -12 of 124 events, 0.105. Counts
            alone cannot be so skewed: a Poisson bin of 124 events has +11.5 -10.8.

    Raises:
        ValueError: unknown option, k out of range.
    """
    check_options("coherent-ge-2026", {"errors": ("ratio", "counts")}, errors=errors)
    number = _numbers()
    ratio, (observed, up, down) = number["ge_2026_ratio"][0], number["ge_2026_observed"]
    error = number["ge_2026_ratio_statistical"][0] if errors == "ratio" else ratio * (up + down) / 2 / observed
    return _rate(
        "coherent-ge-2026",
        _sns_channel(k),
        gaussian_counts(ratio, error),
        1.0,
        (),
        status="transcribed",
        notes=(
            f"rate only: one bin stands for a ratio of 1.00 +- {error:.3f}, beside 10% of the flux",
            _window_note(k),
            "2024 events may be among these: not combined with coherent-ge-2024",
        ),
        tables=("germanium_rates", "germanium_isotopes"),
        runs=("COHERENT Ge-Mini",),
    )
