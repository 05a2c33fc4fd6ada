"""Electrons of caesium iodide in COHERENT: an independent fold, and limits of a reference calculation."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.datasets import read_table
from tests import reference_complementary as ref
from tests.test_coherent import CSI, PE, TIME, experiment

THEORIES = {
    "standard-model": (jc.StandardModel(), lambda E, T, f: ref.electron(E, T, f)),
    "vector": (jc.VectorMediator(0.1, 1e-5), lambda E, T, f: ref.with_mediator("vector", E, T, f, 0.1, 1e-5)),
    "axial": (jc.AxialVectorMediator(6.0, 5e-4), lambda E, T, f: ref.with_mediator("axial", E, T, f, 6.0, 5e-4)),
    "scalar": (jc.ScalarMediator(0.01, 1e-5), lambda E, T, f: ref.with_mediator("scalar", E, T, f, 0.01, 1e-5)),
    "massless vector": (
        jc.VectorMediator(1e-3, 1e-6),
        lambda E, T, f: ref.with_mediator("vector", E, T, f, 1e-3, 1e-6),
    ),
}


@cache
def on_electrons(name: str, shapes: str = "none") -> np.ndarray:
    """Counts by the channels of electrons alone."""
    csi = experiment(CSI, shapes=shapes)
    counts = 0.0
    for channel in csi.channels[2:]:
        theory = THEORIES[name][0]
        rate = jc.physics.recoil_spectrum(theory, channel.flux, channel.target, channel.response.recoil_keV)
        counts = counts + np.asarray(channel.response(rate))
    return counts


@pytest.mark.parametrize("name", THEORIES)
def test_counts_by_an_independent_fold(name) -> None:
    expected = ref.csi_electron_counts(PE, TIME, THEORIES[name][1])
    found = on_electrons(name).reshape(expected.shape)
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-3)
    # The efficiency is a constant in cells of a quarter of a photoelectron.
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4 * expected.max())


def test_standard_model_electrons_are_no_events() -> None:
    """Reference calculation: 7e-5."""
    assert on_electrons("standard-model").sum() == pytest.approx(7e-5, rel=0.06)  # to its one digit


@pytest.mark.parametrize("shapes", ["all", "none"])
def test_counts_add_to_those_of_nuclei(shapes) -> None:
    theory = THEORIES["vector"][0]
    both, nuclei = (
        np.asarray(jc.signal_counts(experiment(CSI, shapes=shapes, electrons=electrons), theory))
        for electrons in ("yes", "no")
    )
    np.testing.assert_allclose(both - nuclei, on_electrons("vector", shapes), rtol=1e-9, atol=1e-12)


def test_quenching_moves_nuclei_alone() -> None:
    """Rows of anchors: two modes of the scintillation, then the efficiency."""
    rows = on_electrons("vector", "all").reshape(3, 5, -1)
    np.testing.assert_allclose(rows[:2], np.broadcast_to(rows[0, 2], rows[:2].shape), rtol=1e-12)
    cross_section = THEORIES["vector"][1]
    for place, name in ((1, "minus"), (3, "plus")):
        expected = ref.csi_electron_counts(PE, TIME, cross_section, name).ravel()
        np.testing.assert_allclose(rows[2, place], expected, rtol=5e-3, atol=1e-4 * expected.max())
        assert abs(rows[2, place].sum() / rows[2, 2].sum() - 1) > 0.01


# 90% CL in the reference calculation, shapes=none: (mass in MeV, nuclei alone, with electrons).
LIMITS = {
    "vector": ((0.1, 1.86e-5, 8.7e-6), (0.5, 1.86e-5, 1.83e-5)),
    "b-l": ((0.1, 4.49e-5, 9.0e-6), (0.5, 4.49e-5, 3.64e-5)),
    "axial": ((6.0, 1.60e-3, 4.7e-4),),
}


@cache
def limit(name: str, electrons: str, masses: tuple[float, ...]) -> list[float]:
    likelihood = jc.Likelihood(experiment(CSI, shapes="none", electrons=electrons), name)
    found = jc.limits(likelihood, "coupling", over={"mass": masses})
    assert all(one.valid for one in found)
    return [one.excluded[0][0] for one in found]


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_the_reference_calculation(name) -> None:
    masses, nuclei, both = zip(*LIMITS[name], strict=True)
    np.testing.assert_allclose(limit(name, "no", masses), nuclei, rtol=0.01)
    np.testing.assert_allclose(limit(name, "yes", masses), both, rtol=0.01)


def test_scalars_do_not_show_on_electrons() -> None:
    masses = (1e-2, 0.1, 1.0, 10.0, 100.0)
    np.testing.assert_allclose(limit("scalar", "yes", masses), limit("scalar", "no", masses), rtol=1e-4)


def test_bound_of_the_mixing_angle_is_that_of_the_nuclei() -> None:
    """Electrons have no mirror point, but 1e-4 events of them do not tell the twins apart."""
    records = [jc.Likelihood(experiment(CSI, electrons=e)).parameters["sin2w"] for e in ("yes", "no")]
    assert [r.lower for r in records] == [pytest.approx(-0.102, abs=1e-3)] * 2
    assert records[0].note == records[1].note != ""


def test_shells_of_both_atoms() -> None:
    table, target = read_table("cesium_iodide_shells"), jc.physics.cesium_iodide_electrons()
    edges = np.unique(table["binding_eV"]) / 1e3
    opened = [table["electrons"][table["binding_eV"] / 1e3 == edge].sum() for edge in edges]
    above, below = (np.asarray(target.per_atom(jnp.asarray(edges * f))) for f in (1 + 1e-9, 1 - 1e-9))
    np.testing.assert_array_equal(above - below, opened)
    assert float(target.electrons.sum()) == 55 + 53
    assert float(target.atoms_per_tonne) == pytest.approx(1e6 * ref.MOLE / 259.81, rel=1e-4)


def test_unknown_treatment_of_electrons() -> None:
    with pytest.raises(ValueError, match=r"coherent-csi-2021: unknown electrons 'maybe'.*choose from yes, no"):
        jc.experiment(CSI, electrons="maybe")


def test_a_theory_of_nuclei_alone_is_told_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"an electron has no Z: .*electrons=no"):
        _ = jc.physics.Electron().Z
    with pytest.raises(AttributeError, match="'Electron' object has no attribute 'charge'"):
        _ = jc.physics.Electron().charge
