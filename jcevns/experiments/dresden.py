"""Dresden-II (arXiv:2202.09672): reactor antineutrinos in 3 kg of germanium, spectra with the reactor on and off."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.constants import SECONDS_PER_YEAR
from jcevns.detectors.quenching import MEASURED, germanium_quenching
from jcevns.detectors.response import Response
from jcevns.detectors.smearing import smeared_response
from jcevns.experiments.experiment import Channel, Experiment
from jcevns.experiments.gaussian import EffectiveCounts, gaussian_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.physics.electrons import germanium_electrons
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.nuclei import germanium
from jcevns.physics.sources import fission_spectrum, reactor
from jcevns.spelling import check_options

__all__ = ["dresden_flux", "dresden_ii"]

OPTIONS = {
    "quenching": (*MEASURED, "lindhard"),
    "normalisation": ("total", "fission", "others"),
    "off": ("none", "own", "joint", "shared"),
    "errors": ("poisson", "gaussian"),
    "electrons": ("yes", "no"),
}
PER_FISSION, CAPTURES = 7.2, 1.2  # antineutrinos, all and after captures on 238U
FREE = 1e3  # width, relative or in units of the anchors, that leaves a parameter free
HALF_BIN = 0.005  # keV

SIGNAL_ANCHORS = (-3.0, -1.0, 0.0, 1.0, 3.0)
DECAY_ANCHORS = (-3.0, -2.25, -1.65, -1.2, -0.9, -0.75, -0.6, -0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6, 0.9, 1.2,
                 1.65, 2.25, 3.0, 4.5, 6.0)  # keV^-1  # fmt: skip
LINE_ANCHORS = (-12.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0)  # eV


class _Start(NamedTuple):
    """Where shapes and sizes of a background are counted from: near the fit, where templates are finest.

    Attributes:
        constant: per day and 10 eV.
        exponential: the same, at no energy.
        decay: of the exponential, keV^-1.
        events: of the L1 line, per day.
        centre: of the L1 line, keV.
        width: of the L1 and L2 lines, keV.
    """

    constant: float
    exponential: float
    decay: float
    events: float
    centre: float
    width: float


START = {
    "on": _Start(13.5, 140.0, 4.1, 1450.0, 1.2922, 0.0692),
    "off": _Start(3.0, 42.0, 5.3, 3150.0, 1.3007, 0.0676),
}

Curve = Callable[[np.ndarray], np.ndarray]
Bins = Float[np.ndarray, " bin"]


def dresden_flux(normalisation: str = "total") -> NeutrinoFlux:
    """Antineutrinos at the detector, `flux.dresden`, with an error of 5% [others].

    Args:
        normalisation: what the published 4.8e13 cm^-2 s^-1 count. `total`: all antineutrinos, 7.2 per fission of
            which 1.2 after captures; so they do if they come from 2.96 GW at 10.39 m [recalled], which give 4.78e13.
            `fission`: those of the tabulated fission spectra, and captures come on top: the signal is 28% larger.
            `others`: the same with captures of 0.6 of the area of fission, as the code of others has it: 1.6 times
            4.8e13 in all, with 0.05% more nuclear recoils.

    Raises:
        ValueError: unknown normalisation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.experiments.dresden import dresden_flux
        >>> fluxes = [dresden_flux(name) for name in ("total", "fission", "others")]
        >>> [f"{float(f.total * jnp.trapezoid(f.shape, f.energy)):.3g}" for f in fluxes]  # cm^-2 s^-1, as tabulated
        ['4.54e+13', '5.83e+13', '7.68e+13']
    """
    check_options("dresden-ii", OPTIONS, normalisation=normalisation)
    number = datasets.read_numbers("dresden_ii_numbers")
    fractions = {i: number[f"fission_fraction_{i}"] for i in ("U235", "U238", "Pu239", "Pu241")}
    energy, spectrum = fission_spectrum(fractions, "tables")
    area = float(np.trapezoid(spectrum, energy))
    captures = number["captures_at_unit_area"] * area if normalisation == "others" else CAPTURES
    per_fission = PER_FISSION if normalisation == "total" else None
    return reactor(
        number["flux"], per_fission, fractions, "tables", captures, "dresden", number["flux_relative_error"]
    )


def _panels(quenching: Curve, pair_keV: float) -> Float[np.ndarray, " edge"]:
    """Panels of recoil energy in keV, from one electron-hole pair to the highest of 8 MeV antineutrinos."""
    fine = np.geomspace(1e-3, 1.0, 3001)
    lowest = float(fine[np.searchsorted(fine * quenching(fine), pair_keV)])
    return np.concatenate([np.geomspace(lowest, 0.2, 12), np.linspace(0.3, 2.0, 18)])


def _responses(
    edges: np.ndarray, number: Mapping[str, float], quenching: Curve, panels: np.ndarray, breaks: np.ndarray
) -> tuple[Float[np.ndarray, " recoil"], Float[np.ndarray, "anchor bin recoil"]]:
    """Per kg and day: at the anchors of the quenching, then of the resolution, then nominal."""
    pair, noise = number["energy_per_pair"] * 1e-3, number["noise_on"] * 1e-3
    exposure = 1e-3 * 86400.0 / SECONDS_PER_YEAR
    errors = number["quenching_relative_error"], number["resolution_relative_error"]

    def at(more: float, wider: float) -> Response:
        def sigma(seen: np.ndarray) -> np.ndarray:
            return (1 + errors[1] * wider) * np.sqrt(noise**2 + number["fano_factor"] * pair * seen)

        def factor(true: np.ndarray) -> np.ndarray:
            return (1 + errors[0] * more) * quenching(true)

        return smeared_response(edges, exposure, sigma, quenching=factor, panels=panels, breaks=breaks)

    found = [at(t, 0.0) for t in SIGNAL_ANCHORS] + [at(0.0, t) for t in SIGNAL_ANCHORS] + [at(0.0, 0.0)]
    return np.asarray(found[0].recoil_keV), np.stack([np.asarray(one.matrix) for one in found])


def _backgrounds(
    state: str, start: _Start, edges: np.ndarray, number: Mapping[str, float]
) -> tuple[dict[str, Bins], dict[str, dict[str, list[Bins]]]]:
    """Nominal rates per day in bins of one spectrum by component, and rates at the anchors of each shape."""
    from scipy.special import ndtr

    noise = number[f"noise_{state}"] * 1e-3

    def line(centre: float, width: float) -> Bins:
        return start.events * np.diff(ndtr((edges - centre) / width))

    def falling(decay: float) -> Bins:
        return start.exponential * -np.diff(np.exp(-decay * edges)) / (decay * 2 * HALF_BIN)

    def l_shell(centre: float, width: float) -> Bins:
        return line(centre, width) + number["l2_over_l1_height"] * line(number["l2_centre"], width)

    nominal = {
        "constant": np.full(edges.size - 1, start.constant),
        "exponential": falling(start.decay),
        "l_shell": l_shell(start.centre, start.width),
        "m_shell": number["m_over_l1_area"] * line(number["m_centre"], noise),
    }
    moved = {
        "decay": {"exponential": [falling(start.decay + t) for t in DECAY_ANCHORS]},
        "l_centre": {"l_shell": [l_shell(start.centre + 1e-3 * t, start.width) for t in LINE_ANCHORS]},
        "l_width": {"l_shell": [l_shell(start.centre, start.width + 1e-3 * t) for t in LINE_ANCHORS]},
    }
    return nominal, moved


def _counted(rate: Bins, error: Bins, errors: str) -> EffectiveCounts:
    """The measured rates as counts."""
    if errors == "gaussian":
        return gaussian_counts(rate, error)
    return EffectiveCounts((rate / error) ** 2, rate / error**2, np.zeros_like(rate))


def dresden_ii(
    quenching: str = "fef",
    k: float = 0.157,
    normalisation: str = "total",
    off: str = "none",
    errors: str = "poisson",
    electrons: str = "yes",
) -> Experiment:
    """Dresden-II, 2.924 kg of germanium, 96.4 days with the reactor on and 25 with it off, 0.2 to 1.5 keV.

    The excess over an exponential background is CEvNS if the quenching is: all depends on it, and it is contested.
    Bins hold the published rates per 10 eV and day in units of their errors. Each spectrum has a constant, an
    exponential, the L1, L2 and M lines of 71Ge with free sizes, decay constant, L1 centre and width; the ratio of M
    to L1 is known to 3% [others]. The signal's quenching, resolution and flux are known to 5% each [others].

    Args:
        quenching: `fef` (iron filter) or `ybe` (photoneutrons), the two measurements with which the excess is about
            that of the Standard Model; or `lindhard`, with which it is several times that.
        k: of the Lindhard model.
        normalisation: of the flux, see `dresden_flux`.
        off: `none` fits the spectrum with the reactor on. `own` fits the one with it off beside it, with shapes of
            its own: it tells whether the form of the background is adequate, and changes nothing about the signal.
            `joint` has one M to L1 ratio for both, which is a property of 71Ge; `shared` has one decay constant of
            the exponential instead.
        errors: `poisson` has effective counts whose root is the published error; `gaussian` the chi2 of least
            squares, by a plinth under the counts, which makes searches slower.
        electrons: `yes` has scattering on electrons, bound in steps, beside that on nuclei; their ionisation is not
            quenched. 0.1% of the signal in the Standard Model, most of it for light mediators and moments.

    Raises:
        ValueError: unknown option.
    """
    given = {"quenching": quenching, "normalisation": normalisation, "off": off, "errors": errors}
    check_options("dresden-ii", OPTIONS, **given, electrons=electrons)
    number, table = datasets.read_numbers("dresden_ii_numbers"), datasets.read_table("dresden_ii_spectra")
    factor = germanium_quenching(quenching, k)
    states = ("on",) if off == "none" else ("on", "off")
    edges = np.append(table["energy_keV"] - HALF_BIN, table["energy_keV"][-1] + HALF_BIN)
    size = edges.size - 1
    rate, error = (np.concatenate([table[f"{s}{what}_per_day"] for s in states]) for what in ("", "_error"))
    counted = _counted(rate, error, errors)

    shapes: dict[str, tuple[tuple[float, ...], float, str]] = dict.fromkeys(
        ("quenching", "resolution"), (SIGNAL_ANCHORS, 1.0, "")
    )
    nominal: dict[str, Bins] = {}
    moved: dict[tuple[str, str], list[Bins]] = {}
    for i, state in enumerate(states):
        start = START[state]._replace(decay=START["on"].decay) if off == "shared" else START[state]
        rates, changes = _backgrounds(state, start, edges, number)

        def placed(one: np.ndarray, i: int = i) -> np.ndarray:
            """In the bins of this spectrum, in counts."""
            return np.pad(one, (i * size, (len(states) - 1 - i) * size)) * counted.scale

        nominal |= {f"{name}_{state}": placed(one) for name, one in rates.items()}
        for shape, templates in changes.items():
            full = shape if off == "shared" and shape == "decay" else f"{shape}_{state}"
            falls = shape == "decay"
            shapes[full] = (DECAY_ANCHORS, FREE, "keV^-1") if falls else (LINE_ANCHORS, FREE, "eV")
            moved |= {(f"{name}_{state}", full): [placed(r) for r in rows] for name, rows in templates.items()}
    backgrounds = {
        name: np.concatenate([moved.get((name, s), [one] * len(anchors)) for s, (anchors, *_) in shapes.items()])
        if any(component == name for component, _ in moved)
        else one
        for name, one in nominal.items()
    }
    if errors == "gaussian":
        backgrounds["plinth"] = counted.plinth

    others = sum(len(anchors) for anchors, *_ in shapes.values()) - 2 * len(SIGNAL_ANCHORS)
    seen = np.where(np.arange(rate.size) < size, counted.scale, 0.0) * number["mass"]

    def channel(target, curve: Curve, panels: np.ndarray, breaks=(), faint: bool = False) -> Channel:
        recoil, found = _responses(edges, number, curve, panels, np.asarray(breaks))
        found = np.concatenate([found[:-1], np.repeat(found[-1:], others, axis=0)])
        matrix = found[:, np.arange(rate.size) % size] * seen[:, None]
        return Channel(flux, target, Response(recoil, matrix), faint)

    flux, pair = dresden_flux(normalisation), number["energy_per_pair"] * 1e-3
    channels = [channel(germanium(), factor, _panels(factor, pair))]
    if electrons == "yes":
        bound = germanium_electrons()
        number = {**number, "quenching_relative_error": 0.0}
        panels = np.append(np.geomspace(pair, 0.2, 12), np.linspace(0.3, 2.0, 18))
        channels.append(channel(bound, np.ones_like, panels, bound.binding_keV, faint=True))
    nuisances = []
    for state in states:
        nuisances += [Nuisance(f"{name}_{state}", FREE, (f"{name}_{state}",)) for name in ("constant", "exponential")]
        nuisances.append(Nuisance(f"l_shell_{state}", FREE, (f"l_shell_{state}", f"m_shell_{state}")))
    lines = tuple(f"m_shell_{state}" for state in states)
    ratios = {"m_ratio": lines} if off == "joint" else {f"m_ratio_{s}": (f"m_shell_{s}",) for s in states}
    nuisances += [Nuisance(name, number["m_ratio_relative_error"], components) for name, components in ratios.items()]
    used = f"{quenching}, k = {k:g}" if quenching == "lindhard" else quenching
    return Experiment(
        name="dresden-ii",
        channels=channels,
        observed=counted.observed,
        backgrounds=backgrounds,
        nuisances=nuisances,
        shapes=tuple(ShapeNuisance(name, *about, smooth=True) for name, about in shapes.items()),
        morphing="sum",
        observable="ionisation energy [keV], reactor on" + (", then off" if off != "none" else ""),
        bin_edges=tuple(map(float, edges)) if off == "none" else (),
        exposure=number["mass"] * 1e-3 * number["days_on"] * 86400.0 / SECONDS_PER_YEAR,
        status="digitised",
        notes=(
            f"quenching {used}: the signal hangs on it, and it is contested",
            f"flux: 4.8e13 cm^-2 s^-1 taken as {normalisation}; spectra tabulated by others, captures digitised",
            "background form, widths of 5%, M to L1 ratio from the code of others; counts are in units of the errors",
        ),
        tables=(
            *("dresden_ii_spectra", "dresden_ii_numbers", "germanium_isotopes", "reactor_spectra_tables"),
            *(("germanium_quenching",) if quenching in MEASURED else ()),
            *("reactor_capture_spectrum", *(("germanium_shells",) if electrons == "yes" else ())),
        ),
        runs=("Dresden-II",),
    )
