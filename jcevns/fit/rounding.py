"""Numbers with errors as they are printed: rounded as the Particle Data Group does, in the units that people say."""

import math
import re
from collections.abc import Sequence

from jcevns.constants import ONE_SIGMA
from jcevns.physics.flux import FLUX_UNIT

__all__ = ["accepted_text", "decimals", "number", "percent", "segments_text", "unit_scale", "with_errors"]


def unit_scale(unit: str) -> tuple[float, str]:
    """Factor that values are divided by for printing, and the unit with it, a space in front."""
    if unit == FLUX_UNIT:
        return 1e6, f" 1e6 {FLUX_UNIT}"
    return 1.0, f" {unit}" if unit else ""


def percent(cl: float) -> str:
    """A confidence level in per cent, never rounded up to 100."""
    if math.isclose(cl, ONE_SIGMA, abs_tol=2e-3):
        return "68%"
    digits, close = 0, 1e-4 * min(cl, 1 - cl)  # of what is inside, or of what is left outside
    while digits < 14 and abs(round(100 * cl, digits) - 100 * cl) > 100 * close:
        digits += 1
    return f"{100 * cl:.{digits}f}%"


def decimals(error: float) -> int:
    """Decimal places that an error calls for: two digits if it begins with 100 to 354, else one."""
    if not (math.isfinite(error) and error > 0):
        return 3
    exponent = math.floor(math.log10(error))
    return 1 - exponent if error / 10.0**exponent <= 3.54 else -exponent


def number(value: float, places: int) -> str:
    """A number with so many decimal places, or as a power of ten where they are out of hand."""
    if places > 6 or places < -3:
        digits = max(2, places + (math.floor(math.log10(abs(value))) if value else 0))
        return f"{value:.{min(digits, 8)}e}"
    return f"{round(value, places):.{max(places, 0)}f}"


def with_errors(value: float, up: float | None, down: float | None) -> str:
    """`value +up -down`; a missing error is open."""
    known = [e for e in (up, down) if e is not None and e > 0]
    places = max(decimals(e) for e in known) if known else 3 - (math.floor(math.log10(abs(value))) if value else 0)
    if known:
        places = max(decimals(min(known)), decimals(max(known)))
    plus = "+open" if up is None else f"+{number(up, places)}"
    minus = "-open" if down is None else f"-{number(down, places)}"
    return f"{number(value, places)} {plus} {minus}"


def segments_text(segments: Sequence[tuple[float | None, float | None]], scale: float = 1.0) -> str:
    """`[a, b] and [c, d]`; an open end in words."""
    if not segments:
        return "nothing"
    ends = [end / scale for pair in segments for end in pair if end is not None]
    widths = [(b - a) / scale for a, b in segments if a is not None and b is not None]
    size = min([w for w in widths if w > 0] or [abs(e) for e in ends if e] or [1.0])
    places = decimals(size) + 1

    def text(end: float | None, bound: str) -> str:
        return bound if end is None else number(end / scale, places)

    return " and ".join(f"[{text(a, 'open')}, {text(b, 'open')}]" for a, b in segments)


def accepted_text(name: str, segments: Sequence[tuple[float | None, float | None]], unit: str) -> str:
    """What is accepted in words: `name < 7.5e-12 mu_B` for an upper limit, `name: [a, b] and [c, d] unit` else.

    Args:
        name: of the parameter.
        segments: accepted ranges in its unit; None for an open end.
        unit: of the values.
    """
    scale, words = unit_scale(unit)
    if not segments:
        return f"{name}: nothing accepted"
    low, high = segments[0][0], segments[-1][1]
    if len(segments) > 1 or (low is not None and high is not None):
        return f"{name}: {segments_text(segments, scale)}{words}"
    if low is None and high is None:
        return f"{name}: no limit"
    end: float = high if low is None else low  # pyright: ignore[reportAssignmentType]
    places = decimals(abs(end / scale) or 1.0) + 1
    power = re.match(r" 1e(-?\d+)(?: |$)", words)
    if power is None or not end:
        text = f"{number(end / scale, places)}{words}"
    else:
        digits = max(places + math.floor(math.log10(abs(end / scale))), 1)
        mantissa, exponent = f"{end / scale:.{digits}e}".split("e")
        text = f"{mantissa}e{int(exponent) + int(power[1])}{words[power.end(1) :]}"
    return f"{name} {'<' if low is None else '>'} {text}"
