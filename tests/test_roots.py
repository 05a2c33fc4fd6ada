"""Roots of many functions at once against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from jcevns.fit.roots import find_roots

FUNCTIONS = (
    lambda x, c: x - c,
    lambda x, c: x**3 - c,
    lambda x, c: np.exp(x) - 1 - c,
    lambda x, c: np.tanh(30 * (x - c)),
    lambda x, c: (x - c) ** 9,
    lambda x, c: np.sign(x - c) * np.abs(x - c) ** 0.2,
    lambda x, c: c - x**2 - 1e-3 * np.sin(40 * x),
)
CONSTANTS = np.array([1e-6, 0.013, 0.3, 0.77, 1.9])


def everything(x: np.ndarray) -> np.ndarray:
    parts = x.reshape(len(FUNCTIONS), CONSTANTS.size)
    return np.concatenate([f(row, CONSTANTS) for f, row in zip(FUNCTIONS, parts, strict=True)])


def test_roots_are_those_of_brentq() -> None:
    low, high = np.zeros(35), np.full(35, 2.0)
    found = find_roots(everything, low, high, everything(low), everything(high))
    expected = np.array(
        [brentq(f, 0, 2, args=(c,), xtol=1e-15, rtol=1e-14, maxiter=1000) for f in FUNCTIONS for c in CONSTANTS]
    )
    # The ninth power is flat to rounding within 1e-2 of its root: there the value counts, not the place.
    flat = np.repeat([k == 4 for k in range(len(FUNCTIONS))], CONSTANTS.size)
    np.testing.assert_allclose(found[~flat], expected[~flat], rtol=3e-10, atol=0)
    assert np.all(np.abs(everything(found)[flat]) < 1e-18)
    backwards = find_roots(everything, high, low, everything(high), everything(low))
    np.testing.assert_allclose(backwards[~flat], expected[~flat], rtol=3e-10, atol=0)


@pytest.mark.parametrize("relative", [1e-4, 1e-8])
def test_tolerance_is_relative(relative) -> None:
    place = np.geomspace(1e-12, 1e3, 40)
    call = lambda x: np.log(x / place)  # noqa: E731
    found = find_roots(call, place / 7, place * 5, np.full(40, -np.log(7)), np.full(40, np.log(5)), relative)
    assert np.max(np.abs(found / place - 1)) < 3 * relative


def test_no_bracket_gives_nan_and_leaves_the_others() -> None:
    shift = np.array([3.0, 0.5, -1.0, 0.25])
    call = lambda x: x**2 - shift  # noqa: E731
    found = find_roots(call, np.zeros(4), np.ones(4), -shift, 1 - shift)
    assert np.array_equal(np.isnan(found), [True, False, True, False])
    np.testing.assert_allclose(found[[1, 3]], np.sqrt([0.5, 0.25]), rtol=1e-10)


def test_not_a_number_at_an_end_gives_nan() -> None:
    found = find_roots(lambda x: x - 0.5, np.zeros(2), np.ones(2), np.array([np.nan, -0.5]), np.array([0.5, 0.5]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.5)


def test_root_at_an_end() -> None:
    place = np.array([0.0, 1.0, 0.0, 1.0])
    sign = np.array([1.0, 1.0, -1.0, -1.0])
    call = lambda x: sign * (x - place)  # noqa: E731
    found = find_roots(call, np.zeros(4), np.ones(4), call(np.zeros(4)), call(np.ones(4)))
    np.testing.assert_array_equal(found, place)


def test_every_call_has_all_positions_inside_their_brackets() -> None:
    low, high, sizes = np.array([0.0, -1.0, 5.0]), np.array([2.0, 4.0, 6.0]), []

    def call(x: np.ndarray) -> np.ndarray:
        sizes.append(x.size)
        assert np.all((x >= low) & (x <= high))
        return x - np.array([0.3, 0.3, 5.5])

    np.testing.assert_allclose(
        find_roots(call, low, high, low - [0.3, 0.3, 5.5], high - [0.3, 0.3, 5.5]), [0.3, 0.3, 5.5]
    )
    assert set(sizes) == {3}
    assert len(sizes) < 60


def test_nothing_to_do() -> None:
    none = np.empty(0)
    assert find_roots(lambda x: x, none, none, none, none).shape == (0,)
