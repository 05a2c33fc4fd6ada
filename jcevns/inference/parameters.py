"""Parameters of interest: the 8B flux, sin^2(theta_W), the strength of a signal of your own."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jcevns.likelihood import joint
from jcevns.likelihood.joint import Likelihood
from jcevns.physics.cross_sections import StandardModel
from jcevns.physics.flux import B8_FLUX
from jcevns.physics.magnetic_moment import MagneticMoment
from jcevns.physics.nuclei import mirror_sin2w
from jcevns.physics.recoil import AnyTheory, TabulatedSpectrum, Theory
from jcevns.spelling import unknown

__all__ = ["FLUX_UNIT", "PARAMETERS", "Parameter", "find_parameter", "signal_strength"]


FLUX_UNIT = "cm^-2 s^-1"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of interest: how a value makes a theory, and where it may go.

    Attributes:
        name: as on the command line.
        unit: of the value; empty for a pure number.
        theory: value to theory, traceable by JAX.
        lower: physical bound, included.
        scale: typical size, the first search range above `lower`.
        flux_pull: whether the 12% pull on the 8B flux is on by default.
        null: value without signal, for the significance; None if there is none.
        note: what the user must know, printed with the result.

    Example:
        >>> import jcevns as jc
        >>> def theory(value):
        ...     return jc.Theory(b8_flux=5.46e6 * value)
        >>> ratio = jc.Parameter("flux/SSM", "", theory, lower=0.0, scale=4.0, flux_pull=False, null=0.0)
        >>> round(jc.measure(ratio, "xenonnt-2024-s2").best_fit, 3)
        1.043
    """

    name: str
    unit: str
    theory: Callable[[Array], AnyTheory]
    lower: float
    scale: float
    flux_pull: bool = True
    null: float | None = None
    note: str = ""


def _flux_theory(value: Array) -> Theory:
    return Theory(b8_flux=value)


def _sin2w_theory(value: Array) -> Theory:
    return Theory(StandardModel(sin2w=value))


def _flux() -> Parameter:
    return Parameter(
        "flux",
        FLUX_UNIT,
        _flux_theory,
        lower=0.0,
        scale=4 * B8_FLUX,
        flux_pull=False,
        null=0.0,
        note="bounded at 0; the 12% flux pull is off, it would be the same parameter twice",
    )


def _sin2w() -> Parameter:
    mirror = mirror_sin2w()
    return Parameter(
        "sin2w",
        "",
        _sin2w_theory,
        lower=mirror,
        scale=1.0,
        note=f"on the branch above the mirror point {mirror:.3f}, where the weak charge of xenon vanishes: "
        "on xenon every value below has a twin above with the same chi2",
    )


def _moment_theory(value: Array) -> MagneticMoment:
    return MagneticMoment(value)


def _magnetic_moment() -> Parameter:
    return Parameter(
        "magnetic-moment",
        "1e-12 mu_B",
        _moment_theory,
        lower=0.0,
        scale=100.0,
        note="effective moment of solar neutrinos, or of those of the source, the same for all flavours",
    )


PARAMETERS: dict[str, Callable[[], Parameter]] = {
    "flux": _flux,
    "sin2w": _sin2w,
    "magnetic-moment": _magnetic_moment,
}
"""Parameters by name."""


def find_parameter(name: str) -> Parameter:
    """Parameter called `name`; ValueError listing the known ones otherwise.

    Example:
        >>> import jcevns as jc
        >>> jc.find_parameter("flux").unit
        'cm^-2 s^-1'
    """
    if name not in PARAMETERS:
        raise ValueError(unknown("parameter", name, PARAMETERS))
    return PARAMETERS[name]()


def signal_strength(likelihood: Likelihood, spectrum: TabulatedSpectrum) -> Parameter:
    """Strength of a signal of your own: a parameter for `estimate`, `interval` and toys.

    Args:
        likelihood: the experiments; 8B neutrinos as a background come from `b8_as_background`.
        spectrum: the signal at strength 1.

    Raises:
        ValueError: no event of this spectrum would be seen.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.b8_as_background(jc.experiment("xenonnt-2024-s2")))
        >>> spectrum = jc.TabulatedSpectrum([0.5, 1.0, 3.0], [40.0, 20.0, 0.0])  # keV, events/(tonne year keV)
        >>> strength = jc.signal_strength(likelihood, spectrum)
        >>> round(jc.interval(likelihood, strength).upper, 3)  # 90% upper limit
        2.253
    """

    def theory(value: Array) -> TabulatedSpectrum:
        return TabulatedSpectrum(spectrum.recoil_keV, spectrum.rate, value * spectrum.strength)

    model = likelihood.model
    anchors = likelihood.signal_size // model.observed.size
    events = float(jnp.sum(joint.signal(likelihood, theory(jnp.asarray(1.0))))) / anchors
    if not events > 0:
        raise ValueError(
            "no event of this recoil spectrum would be seen: check its energies (keV) and rates (events/(t y keV))"
        )
    scale = 4 * max(float(jnp.sum(model.observed)) ** 0.5, 3.0) / events
    return Parameter(
        "strength",
        "",
        theory,
        lower=0.0,
        scale=scale,
        null=0.0,
        note="strength 1 is the recoil spectrum as given; bounded at 0",
    )
