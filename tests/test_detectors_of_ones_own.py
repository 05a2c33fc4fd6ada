"""Files with other targets and several fluxes, with and without data; counts against an integration in NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

import jcevns as jc
from jcevns import cli, physics
from jcevns.datasets import read_table
from jcevns.statistics.projections import asimov
from tests import reference

ARGON = """
name = "argon"
flux = ["b8", "hep"]
target = "argon"
bin_edges = [1.0, 2.0, 4.0, 10.0]
exposure_tonne_year = 20.0

[flux_options.hep]
total = 9.0e3

[response]
resolution = {sqrt = 0.2}
efficiency = "eff.csv"

[backgrounds]
flat = [4.0, 8.0, 12.0]

[[parameters]]
name = "flat"
sigma = 0.2
components = ["flat"]

[[parameters]]
name = "flux.hep"
sigma = 0.3
"""
GERMANIUM = """
name = "germanium"
flux = "reactor"
target = "germanium"
bin_edges = [0.1, 0.15, 0.2, 0.4]
exposure_tonne_year = 1e-3

[flux_options]
total = 1.5e13
spectra = "tables"
captures = 1.2
error = 0.02

[response]
resolution = {constant = 0.02}
quenching = "quenching.csv"

[backgrounds]
flat = [20.0, 30.0, 60.0]
"""
EFFICIENCY = ([0.3, 1.0, 2.0, 20.0], [0.0, 0.5, 0.9, 0.9])
QUENCHING = ([0.0, 0.5, 5.0], [0.1, 0.15, 0.2])


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, head, table in (
        ("eff", "energy_keV,efficiency", EFFICIENCY),
        ("quenching", "recoil_keV,quenching", QUENCHING),
    ):
        rows = "".join(f"{e},{v}\n" for e, v in zip(*table, strict=True))
        Path(f"{name}.csv").write_text(f"{head}\n{rows}", encoding="utf-8")
    Path("argon.toml").write_text(ARGON, encoding="utf-8")
    Path("germanium.toml").write_text(GERMANIUM, encoding="utf-8")
    return tmp_path


def rate(energy, density, isotopes, recoil_keV):
    """dR/dT in events/(tonne year keV): Gauss-Legendre between the nodes of dPhi/dE, isotope by isotope."""
    x, w = np.polynomial.legendre.leggauss(3)
    half = np.diff(energy)[:, None] / 2
    E, weight = (energy[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
    phi = np.interp(E, energy, density) * weight
    table, total = read_table(isotopes), np.zeros(len(recoil_keV))
    for Z, A, mass, share in zip(table["Z"], table["A"], table["nuclear_mass_MeV"], table["abundance"], strict=True):
        total += share * (reference.dsigma_dT(E, recoil_keV[:, None] * 1e-3, Z, A, mass) @ phi)
    grams = float(np.sum(table["abundance"] * table["atomic_mass_u"]))
    return total * (reference.HBARC * 1e-13) ** 2 * 1e-3 * reference.MOLE / grams * 1e6 * reference.YEAR


def seen(flux, isotopes, edges, highest, sigma, kept=None, factor=None):
    """Counts per tonne-year in bins of smeared energy, by the trapezoid rule in 3000 true energies."""
    T = np.linspace(2e-3, highest, 3000)
    fine = np.unique(np.concatenate([np.asarray(flux.energy), np.linspace(1e-3, float(flux.energy[-1]), 700)]))
    fine = fine[fine > 0]
    density = np.interp(fine, np.asarray(flux.energy), np.asarray(flux.shape)) * float(flux.total)
    spectrum = rate(fine, density, isotopes, T) * (1.0 if kept is None else np.interp(T, *kept, left=0, right=0))
    mean = T * (1.0 if factor is None else np.interp(T, *factor))
    share = np.diff(ndtr((np.asarray(edges) - mean[:, None]) / sigma(mean)[:, None]), axis=1)
    return np.trapezoid(spectrum[:, None] * share, T, axis=0)


def test_argon_in_two_fluxes_is_an_integral(here):
    argon = jc.experiment("argon.toml")
    assert tuple(argon.fluxes) == ("b8", "hep")
    assert argon.channels[1].flux.total == 9.0e3
    for name, flux, top in (("b8", physics.b8(), 14.0), ("hep", physics.hep(total=9.0e3), 20.0)):
        expected = 20 * seen(flux, "argon_isotopes", argon.bin_edges, top, lambda m: 0.2 * np.sqrt(m), EFFICIENCY)
        alone = argon.replace(flux=flux)
        assert np.asarray(jc.signal_counts(alone, jc.StandardModel())) == pytest.approx(expected, rel=2e-4), name
    likelihood = jc.Likelihood(argon)
    assert likelihood.parameters["flux.hep"].width == pytest.approx(0.3 * 9.0e3)
    assert likelihood.parameters["flux.b8"].width == pytest.approx(0.12 * 5.46e6)


def test_germanium_at_a_reactor_is_an_integral(here):
    germanium = jc.experiment("germanium.toml")
    flux = physics.reactor(total=1.5e13, spectra="tables", captures=1.2)
    expected = 1e-3 * seen(
        flux, "germanium_isotopes", germanium.bin_edges, 4.5, lambda m: np.full_like(m, 0.02), None, QUENCHING
    )
    assert np.asarray(jc.signal_counts(germanium, jc.StandardModel())) == pytest.approx(expected, rel=1e-3)
    assert expected.sum() > 10
    assert jc.Likelihood(germanium).parameters["flux.reactor"].width == pytest.approx(0.02)


def test_parts_of_the_sun_on_electrons_add_up(here):
    """pp, pep, 7Be and CNO one by one make what `solar` makes as one flux."""
    text = (
        GERMANIUM.replace("[flux_options]", "[other]").split("[other]")[0] + "[response]\nresolution = {sqrt = 0.3}\n"
    )
    text = text.replace('"germanium"\nbin', '"xenon-electrons"\nbin').replace(
        "[0.1, 0.15, 0.2, 0.4]", "[5, 50, 200, 300]"
    )
    parts, whole = '["pp", "pep", "be7", "cno"]', '"solar"'
    counted = []
    for flux in (parts, whole):
        Path("sun.toml").write_text(text.replace('"reactor"', flux), encoding="utf-8")
        sun = jc.experiment("sun.toml")
        counted.append(np.asarray(jc.signal_counts(sun, jc.StandardModel())))
    assert counted[0] == pytest.approx(counted[1], rel=1e-6)
    assert tuple(jc.Likelihood("sun.toml").parameters)[3:4] == ("flux.solar",)


BAD = {
    "two of one": ('["b8", "hep"]', '["b8", "b8"]', "counted twice"),
    "a part of another": ('["b8", "hep"]', '["solar", "pp"]', "'solar' holds 'pp'"),
    "unknown": ('["b8", "hep"]', '["b8", "hepp"]', "did you mean hep"),
    "no name": ('["b8", "hep"]', "[1]", "texts in quotes"),
    "none": ('["b8", "hep"]', "[]", "empty list"),
    "unseen": ('["b8", "hep"]', '["b8", "pp", "hep"]', "flux 'pp' makes no event in any bin"),
    "options of another": ("[flux_options.hep]", "[flux_options.pp]", "unknown key 'pp'"),
    "options flat": (
        "[flux_options.hep]\ntotal = 9.0e3",
        '[flux_options]\nshape = "winter2006"',
        "unknown key 'shape'",
    ),
    "shape at the top": ("[flux_options.hep]", 'shape = "winter2006"\n[flux_options.hep]', "unknown key"),
    "error of another": ('"flux.hep"', '"flux.pp"', "'flux.b8' and 'flux.hep'"),
    "error twice": ('"flat"\nsigma', '"flux.hep"\nsigma', "the flux has two entries"),
    "no bins": ("bin_edges = [1.0, 2.0, 4.0, 10.0]\n", "", "missing key 'observed'; without counts"),
    "target": ('"argon"\nbin', '"argone"\nbin', "did you mean argon"),
}


@pytest.mark.parametrize("case", BAD)
def test_fluxes_and_targets_of_a_file_are_checked(here, case):
    old, new, message = BAD[case]
    assert old in ARGON
    text = ARGON.replace(old, new, 1)
    if case == "error twice":
        text = text.replace('components = ["flat"]\n', "")
    if case == "shape at the top":
        message = "one flux: write"
        text = 'shape = "winter2006"\n' + ARGON
    Path("bad.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        jc.experiment("bad.toml")


def test_without_data_the_counts_are_the_expectation(here):
    argon = jc.experiment("argon.toml")
    assert not argon.measured
    total = np.asarray(jc.signal_counts(argon, jc.StandardModel())) + np.asarray(argon.backgrounds["flat"])
    assert np.asarray(argon.observed) == pytest.approx(total)
    assert any("no observed counts" in note for note in argon.notes)


VERBS = {
    "fit": lambda e: jc.fit(e, "flux.b8"),
    "interval": lambda e: jc.interval(e, "flux.b8"),
    "profile": lambda e: jc.profile(e),
    "profile_curve": lambda e: jc.profile_curve(e, "flux.b8", [5e6]),
    "chi2": lambda e: jc.chi2(e),
    "contour": lambda e: jc.contour(e, ("sin2w", "flux.b8")),
    "limits": lambda e: jc.limits(e, "flux.b8"),
    "scan": lambda e: jc.scan(e, {"sin2w": [0.2, 0.3]}),
    "sample": lambda e: jc.sample(e, "flux.b8"),
    "laplace": lambda e: jc.laplace(e, {"flux.b8": np.linspace(1e6, 9e6, 5)}),
    "discovery": lambda e: jc.discovery(e, "flux.b8", toys=10),
    "toy_interval": lambda e: jc.toy_interval(e, "flux.b8", values=[4e6, 5e6], toys=10),
    "fit_quality": lambda e: jc.fit_quality(e, "flux.b8", toys=10),
    "to_pyhf": lambda e: jc.to_pyhf(jc.Likelihood(e)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_needs_data_says_so_in_one_line(here, verb):
    with pytest.raises(ValueError, match=r"'argon' has no observed counts, and .* needs data") as caught:
        VERBS[verb]("argon.toml")
    assert "\n" not in str(caught.value)


def test_projections_need_no_data(here):
    """The expected error is that of Asimov data, fitted; data of one's own in the file do not change it."""
    argon = jc.experiment("argon.toml")
    at = {"flux.hep": 9.0e3}
    found = jc.expected_error(argon, "flux.b8", 5.46e6, toys=20, at=at)
    data = asimov(argon, "flux.b8", 5.46e6, at)
    assert np.asarray(data.model.observed) == pytest.approx(np.asarray(argon.observed))
    fitted = jc.fit(data, "flux.b8", at=at)
    assert fitted.values["flux.b8"] == pytest.approx(5.46e6, rel=1e-5)
    down, up = fitted.errors["flux.b8"]
    assert found.asimov == pytest.approx((up + abs(down)) / 2, rel=1e-3)
    Path("data.toml").write_text("observed = [9, 99, 999]\n" + ARGON.lstrip(), encoding="utf-8")
    other = jc.expected_error("data.toml", "flux.b8", 5.46e6, toys=20, at=at)
    assert other.asimov == pytest.approx(found.asimov, rel=1e-6)
    small, large = (jc.scaled(argon, e) for e in (20.0, 2000.0))
    assert np.asarray(large.observed) == pytest.approx(100 * np.asarray(small.observed))
    assert not large.measured


def test_the_command_line_says_it_too(here, capsys):
    def run(*words):
        code = cli.guarded(lambda: cli.cli(list(words), standalone_mode=False))
        out = capsys.readouterr()
        return code, out.out, out.err

    for command in ("fit flux.b8", "limit sin2w", "toys significance --parameter flux.b8 --toys 5"):
        code, out, err = run(*command.split(), "--experiments", "argon.toml")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "needs data" in err
    words = ("--parameter", "flux.b8", "--exposure", "20", "--toys", "5", "--at", "flux.hep=9e3", "--json")
    code, out, err = run("project", *words, "--experiments", "argon.toml")
    assert code == 0, err
    assert json.loads(out)[0]["quantity"].startswith("significance")
