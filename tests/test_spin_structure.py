"""Spin structure functions: printed values, an evaluation in NumPy, the published fit for 131Xe."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns.datasets import read_table
from jcevns.physics import Nucleus, xenon
from jcevns.physics.spin_structure import longitudinal_s00, transverse_s00
from tests.reference import HBARC

TARGET = xenon()
WITH_SPIN = ("129Xe", "131Xe")
KINDS = {"transverse": transverse_s00, "longitudinal": longitudinal_s00}


def nucleus(name: str) -> Nucleus:
    return jax.tree.map(lambda x: x[TARGET.names.index(name)], TARGET.nuclei)


def s00(kind: str, name: str, q2: np.ndarray) -> np.ndarray:
    """From the table, row by row; q^2 in MeV^2."""
    table, total = read_table("spin_multipoles"), np.zeros_like(q2)
    mine = (table["isotope"] == name) & (table["response"] == kind)
    for L in set(table["L"][mine]):
        form = np.zeros_like(q2)
        for row in np.flatnonzero(mine & (table["L"] == L)):
            u = q2 / HBARC**2 * table["oscillator_fm"][row] ** 2 / 2
            form += np.exp(-u / 2) * sum(table[f"c{k}"][row] * u**k for k in range(8))
        total += form**2
    return total


@pytest.mark.parametrize(("name", "printed"), [("129Xe", 0.0365), ("131Xe", 0.0279)])
def test_value_at_zero(name, printed) -> None:
    transverse = float(transverse_s00(jnp.asarray(0.0), nucleus(name)))
    assert round(transverse, 4) == printed
    assert transverse / float(longitudinal_s00(jnp.asarray(0.0), nucleus(name))) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_table_is_evaluated_as_documented(kind) -> None:
    q2 = np.array([0.0, 1.0, 30.0, 500.0, 2e3, 1e4, 4e4])
    for name in WITH_SPIN:
        found = KINDS[kind](jnp.asarray(q2), nucleus(name))
        np.testing.assert_allclose(found, s00(kind, name, q2), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nuclei_without_spin_have_none(kind) -> None:
    q2 = jnp.asarray([0.0, 10.0, 1e4])
    for name, spin in zip(TARGET.names, TARGET.nuclei.spin, strict=True):
        found = np.asarray(KINDS[kind](q2, nucleus(name)))
        assert (name in WITH_SPIN) == (spin > 0)
        assert np.all(found > 0) if name in WITH_SPIN else np.array_equal(found, np.zeros(3)), name


@pytest.mark.parametrize("kind", KINDS)
def test_slope_in_q2(kind) -> None:
    for name in TARGET.names:
        one = nucleus(name)
        for q2 in (0.0, 100.0, 3000.0):
            slope = jax.grad(lambda x, one=one: KINDS[kind](x, one))(jnp.asarray(q2))
            step = 1e-3 * max(q2, 1.0)
            if name not in WITH_SPIN:
                assert slope == 0
            else:
                f = [s00(kind, name, np.array([q2 + k * step]))[0] for k in (-2, -1, 1, 2)]
                assert float(slope) == pytest.approx((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step), rel=1e-6)


def test_xe131_is_that_of_the_publication() -> None:
    """S_00(u) = exp(-u) sum_k c_k u^k of arXiv:1304.7684, transverse and longitudinal together."""
    published = [0.0417857, -0.111132, 0.171306, -0.132481, 0.0630161, -0.0177684, 0.00282192, -0.000232247]
    published += [7.81471e-06, 1.25984e-09]
    u, one = np.linspace(0, 3, 61), nucleus("131Xe")
    q2 = jnp.asarray(2 * u * HBARC**2) / one.multipoles.oscillator**2
    ours = transverse_s00(q2, one) + longitudinal_s00(q2, one)
    expected = np.exp(-u) * np.polynomial.polynomial.polyval(u, published)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-4)
