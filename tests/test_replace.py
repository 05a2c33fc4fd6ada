"""Inputs of one's own in an experiment; records whose parts do not fit; names as on the command line, in Python."""

from __future__ import annotations

import dataclasses
import inspect
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns import physics
from jcevns.detectors import Response, TabulatedChargeYield
from jcevns.experiments.catalogue import EXPERIMENTS
from jcevns.experiments.consistency import check_channel
from jcevns.experiments.names import ENTRIES, listed
from tests import reference

XENONNT, PANDAX = "xenonnt-2024-s2", "pandax4t-us2"
SM = jc.StandardModel()
STEEP = ([0.3, 0.9, 3.0], [0.1, 0.5, 0.9])


def counts(experiment, theory=SM):
    return np.asarray(jc.signal_counts(experiment, theory))


def folded(nodes, table, rows=()):
    """Counts per tonne-year of 8B and a list of other fluxes: exact dR/dT times a table linear between its nodes."""
    fluxes = [None, *rows]
    total = np.zeros(len(table))
    for flux in fluxes:

        def rate(T, flux=flux):
            return reference.spectrum(T) if flux is None else rate_of(flux, T)

        for i, row in enumerate(table):
            total[i] += reference.integrate(
                lambda T, row=row, rate=rate: rate(T) * np.interp(T, nodes, row), nodes, 3
            )
    return total


def rate_of(flux, recoil_keV, isotopes="xenon_isotopes"):
    """dR/dT of a flux by the trapezoid rule over its nodes, refined."""
    from jcevns.datasets import read_table

    table = read_table(isotopes)
    energy = np.linspace(max(float(flux.energy[0]), 1e-3), float(flux.energy[-1]), 4001)
    density = np.interp(energy, np.asarray(flux.energy), np.asarray(flux.shape)) * float(flux.total)
    grams = float(np.sum(table["abundance"] * table["atomic_mass_u"]))
    recoil = np.atleast_1d(recoil_keV)[:, None] * 1e-3
    total = np.zeros(len(recoil))
    for Z, A, mass, share in zip(table["Z"], table["A"], table["nuclear_mass_MeV"], table["abundance"], strict=True):
        cross = reference.dsigma_dT(energy, recoil, Z, A, mass)
        total += share * np.trapezoid(cross * density, energy, axis=1)
    return total * (reference.HBARC * 1e-13) ** 2 * 1e-3 * reference.MOLE / grams * 1e6 * reference.YEAR


# Inputs ---------------------------------------------------------------------------------------------------------


def test_c_i_of_pandax_follow_an_own_efficiency_and_yield():
    """Frozen at the default they would give a flux of 19.4e6: the signal is the table's whatever the inputs."""
    default = jc.experiment(PANDAX)
    charge = TabulatedChargeYield([0.2, 1.0, 5.0], [4.0, 6.2, 7.0])
    own = default.replace(efficiency=STEEP, charge_yield=charge)
    assert counts(own) == pytest.approx(counts(default), rel=1e-9)
    assert own.status == "user"
    assert any("efficiency" in note and "charge yield" in note for note in own.notes)
    naive = default.channels[0].response.seen_with(tuple(map(np.asarray, STEEP)))
    assert counts(dataclasses.replace(default, channels=jc.Channel(physics.b8(), physics.xenon(), naive))).sum() < 25
    (before, after) = (jc.fit(e, "flux", errors=False).values["flux.b8"] for e in (default, own))
    assert after == pytest.approx(before, rel=1e-6)
    # Another theory does see the difference: its recoils are elsewhere.
    low = jc.TabulatedSpectrum([0.1, 1.0, 2.0], [500.0, 10.0, 0.0])
    assert abs(counts(own, low) / counts(default, low) - 1).max() > 0.05
    binomial = jc.experiment(f"{PANDAX}:response=binomial")
    assert counts(binomial.replace(efficiency=STEEP)) == pytest.approx(counts(default), rel=1e-9)


def test_an_efficiency_without_c_i_is_an_integral():
    """The released response with an own efficiency, no correction: exact dR/dT on the table, rescaled by node."""
    from jcevns import datasets

    pack = datasets.read_arrays("xenonnt_2024_templates")
    zero = int(np.flatnonzero(pack["t_yield"] == 0)[0])
    bins = np.asarray(pack["response"][:, :, zero, zero, :], float).reshape(2, -1, 3, 27).sum(-1)
    weight = np.asarray(pack["exposure_tonne_year"], float)
    table = np.tensordot(weight, bins, 1).T / weight.sum()
    nodes = np.asarray(pack["recoil_keV"], float)
    wanted = np.interp(nodes, *STEEP, left=0, right=0)
    table = table / table.sum(axis=0) * wanted
    own = jc.experiment(f"{XENONNT}:correction=none").replace(efficiency=STEEP)
    assert counts(own) == pytest.approx(folded(nodes, table) * weight.sum(), rel=1e-3)


def test_inputs_come_from_files_too(tmp_path):
    rows = "".join(f"{e},{v}\n" for e, v in zip(*STEEP, strict=True))
    (tmp_path / "eff.csv").write_text(f"recoil_keV,efficiency\n{rows}", encoding="utf-8")
    (tmp_path / "eff_e.csv").write_text(f"energy_keV,efficiency\n{rows}", encoding="utf-8")
    (tmp_path / "qy.csv").write_text("recoil_keV,electrons_per_keV\n0.1,5\n9,7.5\n", encoding="utf-8")
    text = f"{XENONNT}:correction=none:efficiency={tmp_path}/eff.csv"
    assert counts(jc.experiment(text)) == pytest.approx(
        counts(jc.experiment(f"{XENONNT}:correction=none").replace(efficiency=STEEP))
    )
    unsmeared = f"{XENONNT}:correction=none:response=unsmeared"
    by_file = jc.experiment(f"{unsmeared}:charge_yield={tmp_path}/qy.csv")
    by_table = jc.experiment(unsmeared).replace(charge_yield=([0.1, 9.0], [5.0, 7.5]))
    assert counts(by_file) == pytest.approx(counts(by_table))
    assert counts(by_file) != pytest.approx(counts(jc.experiment(unsmeared)), rel=0.01)
    er = jc.experiment(f"lz-er-ws2022:efficiency={tmp_path}/eff_e.csv")
    assert er.backgrounds["other"].tolist() == jc.experiment("lz-er-ws2022").backgrounds["other"].tolist()
    assert er.status == "user"


def test_an_electron_recoil_efficiency_scales_the_signal_alone():
    default = jc.experiment("xenonnt-er-2022:bin_keV=29")
    half = default.replace(efficiency=([0.0, 60.0], [0.5, 0.5]))
    quarter = default.replace(efficiency=([0.0, 60.0], [0.25, 0.25]))
    assert counts(half) == pytest.approx(2 * counts(quarter), rel=1e-9)
    assert half.backgrounds["other"].tolist() == default.backgrounds["other"].tolist()


def test_the_form_factor_of_c_i():
    """c_i with Helm's: the signal under a theory with it is the published one; under another it is not."""
    own = jc.experiment(XENONNT).replace(form_factor="helm")
    assert counts(own, jc.StandardModel(form_factor=physics.Helm())) == pytest.approx(counts(jc.experiment(XENONNT)))
    assert counts(own).sum() < 0.995 * counts(jc.experiment(XENONNT)).sum()


def test_two_fluxes_add_up_and_keep_their_parameters():
    """8B and hep, each through the response with the c_i of 8B; the numbers are those of an exact folding."""
    default = jc.experiment(XENONNT)
    both = default.replace(flux=["b8", "hep"])
    alone = [counts(default.replace(flux=name)) for name in ("b8", "hep")]
    assert counts(both) == pytest.approx(sum(alone))
    assert counts(both) == pytest.approx([3.2393, 5.2043, 2.8341], abs=1e-4)
    assert counts(default) == pytest.approx(alone[0], rel=1e-12)
    parameters = jc.Likelihood(both).parameters
    assert {"flux.b8", "flux.hep"} <= set(parameters)
    signal = jc.component_counts(both, {"flux.hep": 3 * 7.98e3})[XENONNT]["signal"]
    assert np.asarray(signal) == pytest.approx(alone[0] + 3 * alone[1])
    combined = default.replace(flux=physics.combine("sun", [physics.b8(), physics.hep()]))
    assert counts(combined) == pytest.approx(counts(both), rel=1e-6)
    assert counts(jc.experiment(f"{XENONNT}:flux=b8+hep")) == pytest.approx(counts(both))
    again = both.replace(efficiency=([0.5, 5.0], [0.2, 0.2]))
    assert tuple(again.fluxes) == ("b8", "hep")
    assert tuple(again.replace(flux="hep").fluxes) == ("hep",)


def test_the_hep_counts_are_those_of_numpy():
    default = jc.experiment(f"{XENONNT}:correction=none")
    found = counts(default.replace(flux="hep"))
    response = default.channels[0].response
    rate = rate_of(physics.hep(), np.asarray(response.recoil_keV))
    assert found == pytest.approx(np.asarray(response.matrix) @ rate, rel=2e-4)


REFUSED = {
    "nothing": (XENONNT, {}, "nothing to replace"),
    "released yield": (XENONNT, {"charge_yield": ([0.5, 9.0], [7, 7])}, "take response=unsmeared"),
    "percent": (XENONNT, {"efficiency": ([0.5, 9.0], [10, 70])}, "between 0 and 1"),
    "NaN": (XENONNT, {"efficiency": ([0.5, 9.0], [0.1, np.nan])}, "between 0 and 1"),
    "falling energies": (XENONNT, {"efficiency": ([9.0, 0.5], [0.1, 0.1])}, "increase"),
    "one column": (XENONNT, {"efficiency": [0.1, 0.2, 0.3]}, "two columns"),
    "a number": (XENONNT, {"efficiency": 0.5}, "must be text"),
    "lengths": (XENONNT, {"efficiency": ([0.5, 9.0], [0.1])}, "two columns of two rows"),
    "zero": (XENONNT, {"efficiency": ([0.5, 9.0], [0, 0])}, "zero everywhere"),
    "no such file": (XENONNT, {"efficiency": "none.csv"}, "no such file"),
    "a bin unseen": (PANDAX, {"efficiency": ([20.0, 30.0], [1, 1])}, "no event in bin 0"),
    "yield that falls": (PANDAX, {"charge_yield": ([1.0, 9.0], [7, 0.1])}, "increase with the energy"),
    "form factor": (PANDAX, {"form_factor": "hlm"}, "did you mean helm"),
    "form factor a number": (PANDAX, {"form_factor": object()}, "must be a name"),
    "flux unknown": (PANDAX, {"flux": "b9"}, "did you mean b8"),
    "flux a number": (PANDAX, {"flux": 5.46e6}, "must be a NeutrinoFlux"),
    "flux twice": (PANDAX, {"flux": ["b8", "b8"]}, "counted twice"),
    "flux unseen": (PANDAX, {"flux": ["b8", "pp"]}, "'pp' makes no event"),
    "flux none": (PANDAX, {"flux": []}, "empty"),
    "a rate": ("conus-plus-2025", {"efficiency": STEEP}, "published rate"),
    "own flux": ("conus-plus-2025", {"flux": "b8"}, "made for the recoils of its own flux"),
    "no c_i": ("xenonnt-er-2022", {"form_factor": "helm"}, "the form factor is the theory's"),
    "templates": ("xenonnt-2026", {"efficiency": STEEP}, "inside its released templates"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_replaced_is_refused_with_the_reason(case):
    name, inputs, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        jc.experiment(name).replace(**inputs)


def test_changes_are_not_lost():
    with pytest.raises(ValueError, match="changed after it was built"):
        jc.scaled(jc.experiment(XENONNT), 10.0).replace(efficiency=STEEP)
    future = jc.scaled(jc.experiment(XENONNT).replace(flux="hep"), 35.16991)
    assert counts(future) == pytest.approx(10 * counts(jc.experiment(XENONNT).replace(flux="hep")), rel=1e-9)
    bare = dataclasses.replace(jc.experiment(XENONNT), recipe=None)
    with pytest.raises(ValueError, match="build the response anew"):
        bare.replace(efficiency=STEEP)
    assert tuple(bare.replace(flux="hep").fluxes) == ("hep",)


# Records --------------------------------------------------------------------------------------------------------


def _two(**changes):
    first = jc.experiment(XENONNT).channels[0]
    return dataclasses.replace(jc.experiment(XENONNT), channels=(first, dataclasses.replace(first, **changes)))


NUCLEI = {"Z": [18, 18], "A": [38, 40], "mass": [35353.0, 37216.0], "spin": [0, 0]}
FLUX = {"energy": [0.0, 1.0, 2.0], "shape": [0.5, 0.5, 0.5], "total": 1.0, "name": "a"}
RECORDS = {
    "area 2": (lambda: physics.NeutrinoFlux(**{**FLUX, "shape": [1.0, 1.0, 1.0]}), "area of the shape is 2"),
    "area 0": (lambda: physics.NeutrinoFlux(**{**FLUX, "shape": [0.0, 0.0, 0.0]}), "area of the shape is 0"),
    "area of a share": (lambda: physics.NeutrinoFlux(**FLUX, share=0.5), "must be 0.5"),
    "negative": (lambda: physics.NeutrinoFlux(**{**FLUX, "shape": [2.0, -1.0, 1.0]}), "not negative"),
    "NaN": (lambda: physics.NeutrinoFlux(**{**FLUX, "shape": [0.5, np.nan, 0.5]}), "not negative"),
    "shape too short": (lambda: physics.NeutrinoFlux(**{**FLUX, "shape": [0.5, 0.5]}), "one number per energy"),
    "two totals": (lambda: physics.NeutrinoFlux(**{**FLUX, "total": [1.0, 2.0]}), "a channel more"),
    "energies negative": (lambda: physics.NeutrinoFlux(**{**FLUX, "energy": [-1.0, 0.0, 1.0]}), "not negative"),
    "energies infinite": (lambda: physics.NeutrinoFlux(**{**FLUX, "energy": [0.0, 1.0, np.inf]}), "finite"),
    "sources without shapes": (lambda: physics.NeutrinoFlux(**FLUX, sources=("pp", "be7")), "need their shapes"),
    "shapes of sources": (
        lambda: physics.NeutrinoFlux(**FLUX, sources=("pp",), source_shapes=np.ones((2, 3))),
        "source_shapes have shape",
    ),
    "sum of sources": (
        lambda: physics.NeutrinoFlux(**FLUX, sources=("pp", "be7"), source_shapes=np.ones((2, 3))),
        "add up to the shape",
    ),
    "response columns": (lambda: Response([1.0, 2.0], np.ones((2, 3))), r"\(2, 3\) for energies of shape \(2,\)"),
    "response of one axis": (lambda: Response([1.0, 2.0], np.ones(2)), "must be"),
    "response energies": (lambda: Response([-1.0, 2.0], np.ones((2, 2))), "negative recoil energy"),
    "nuclei": (lambda: physics.Nucleus(**{**NUCLEI, "A": [40.0]}), "one number of each per nucleus"),
    "mass number": (lambda: physics.Nucleus(**{**NUCLEI, "A": [10.0, 40.0]}), "0 < Z <= A"),
    "mass": (lambda: physics.Nucleus(**{**NUCLEI, "mass": [0.0, 1.0]}), "mass in MeV"),
    "atoms": (lambda: physics.Target(physics.Nucleus(**NUCLEI), [1e28], ("a", "b")), "one per name"),
    "names": (lambda: physics.Target(physics.Nucleus(**NUCLEI), [1e28, 1e28], ("a",)), "one per name"),
    "atoms negative": (lambda: physics.Target(physics.Nucleus(**NUCLEI), [1e28, -1e28], ("a", "b")), "not negative"),
    "shells": (lambda: physics.ElectronTarget([1.0, 2.0], [2.0], 1e28), "electrons of its shells"),
    "channel in another order": (
        lambda: check_channel(SimpleNamespace(flux=physics.xenon(), target=physics.b8())),
        "Target as its flux",
    ),
    "channel without response": (
        lambda: check_channel(SimpleNamespace(flux=physics.b8(), target=physics.xenon(), response=np.ones((2, 2)))),
        "ndarray as its response",
    ),
    "one name, two totals": (lambda: _two(flux=physics.b8(total=1e6)), "differ in total"),
    "one name, two errors": (
        lambda: _two(flux=dataclasses.replace(physics.b8(), error=0.3)),
        "differ in total, error or kind",
    ),
    "bins": (lambda: _two(response=Response([1.0, 2.0], np.ones((2, 2)))), "3 bins, another 2"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_parts_that_do_not_fit_are_refused(case):
    build, message = RECORDS[case]
    with pytest.raises(ValueError, match=message):
        build()


def test_fluxes_that_are_shares_keep_their_area():
    for flux in (physics.reactor(), physics.reactor(spectra="tables", per_fission=None, captures=1.2)):
        assert flux.share == pytest.approx(float(jnp.trapezoid(flux.shape, flux.energy)), rel=1e-12)
        twice = physics.combine("both", [flux, physics.reactor(total=1.3e13, name="other")])
        assert twice.share == pytest.approx(float(jnp.trapezoid(twice.shape, twice.energy)), rel=1e-6)
    slightly = physics.NeutrinoFlux([0.0, 1.0], [1.004, 1.004], 1.0, "another rule of integration")
    assert slightly.share == 1.0


# Names ----------------------------------------------------------------------------------------------------------


def test_names_know_the_options_of_their_functions():
    """What the command line checks without building anything."""
    for name, entry in ENTRIES.items():
        assert tuple(entry.options.split()) == tuple(inspect.signature(EXPERIMENTS[name]).parameters), name


STRINGS = [
    "coherent-csi-2021:shapes=none",
    "xenonnt-2024-s2:shape=winter2006:correction=template",
    "pandax4t-us2:table=T3:field=90",
    "dresden-ii:electrons=no",
    " texono-2010 ",
]


@pytest.mark.parametrize("text", STRINGS)
def test_every_string_of_the_command_line_is_one_in_python(text):
    name = text.strip().partition(":")[0]
    assert jc.experiment(text).name == name
    assert jc.experiment(text).recipe.options == tuple(
        sorted((k, float(v) if v == "90" else v) for k, v in (o.split("=") for o in text.strip().split(":")[1:]))
    )


def test_lists_and_groups_in_python():
    both = "pandax4t-us2:table=T3,coherent-csi-2021:shapes=none"
    for given in (both, [both], both.split(","), (*both.split(",")[:1], jc.experiment(both.split(",")[1]))):
        likelihood = jc.Likelihood(given)
        assert likelihood.names == ("pandax4t-us2", "coherent-csi-2021")
        assert not likelihood.experiments[1].shapes
    assert jc.Likelihood("all-cevns").names == jc.Likelihood(["all-cevns"]).names
    with pytest.raises(ValueError, match="all-8b is a group of 2 experiments: give it to"):
        jc.experiment("all-8b")


def test_commas_between_experiments_and_inside_paths(tmp_path):
    """A file after a comma belongs to its own experiment."""
    for name in ("f.csv", "f,g.csv"):
        (tmp_path / name).write_text("recoil_keV,efficiency\n0,1\n", encoding="utf-8")
        one = f"pandax4t-us2:efficiency={tmp_path}/{name}:table=T3"
        assert listed(f"xenonnt-2024-s2,{one},texono-2010") == ["xenonnt-2024-s2", one, "texono-2010"]
        assert listed(f"{one},{one}") == [one, one]
