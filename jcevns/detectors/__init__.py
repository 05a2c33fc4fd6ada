"""From recoil energy to observable: charge yields and linear responses."""

from jcevns.detectors.charge_yield import (
    AbstractChargeYield,
    NestChargeYield,
    PowerLawChargeYield,
    TabulatedChargeYield,
)
from jcevns.detectors.fluctuations import binomial_response
from jcevns.detectors.quenching import germanium_quenching, lindhard
from jcevns.detectors.response import Response, charge_response, interpolated_response
from jcevns.detectors.smearing import smeared_response

__all__ = [
    "AbstractChargeYield",
    "NestChargeYield",
    "PowerLawChargeYield",
    "Response",
    "TabulatedChargeYield",
    "binomial_response",
    "charge_response",
    "germanium_quenching",
    "interpolated_response",
    "lindhard",
    "smeared_response",
]
