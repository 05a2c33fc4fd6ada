"""Histograms in and out by the UHI protocol; contours and limits as HEPData submissions, by HEPData's schema."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import boost_histogram as bh
import hist
import numpy as np
import pytest
import yaml
from uhi.typing.plottable import PlottableHistogram

import jcevns as jc
from jcevns import cli
from jcevns.histogram import read_histogram
from jcevns.statistics.hepdata import _flow, _yaml
from jcevns.statistics.limits import Limit

with warnings.catch_warnings():  # of jsonschema, about an interface that the validator imports
    warnings.simplefilter("ignore", DeprecationWarning)
    from hepdata_validator.data_file_validator import DataFileValidator
    from hepdata_validator.submission_file_validator import SubmissionFileValidator

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")

XENONNT = "xenonnt-2024-s2"
EDGES = [4.0, 5.0, 6.0, 8.0]


def channel(edges=EDGES):
    response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), edges, 0.2)
    return jc.Channel(jc.physics.b8(), jc.physics.xenon(), response)


def filled(counts, edges=EDGES, label="N_e [electrons]"):
    """A hist with underflow and overflow that must not count."""
    made = hist.Hist(hist.axis.Variable(edges, label=label), storage=hist.storage.Double())
    made[...] = counts
    made[hist.underflow], made[hist.overflow] = 1e3, 1e3
    return made


def plain(counts, edges=EDGES):
    made = bh.Histogram(bh.axis.Variable(edges), storage=bh.storage.Weight())
    made.view().value[...], made.view().variance[...] = counts, 1.0
    return made


# Histograms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [filled, plain])
def test_an_experiment_from_histograms_is_that_from_arrays(make):
    observed, background = [9.0, 7.0, 5.0], [4.0, 3.0, 2.5]
    nuisances = (jc.Nuisance("bg", 0.2, ("bg",)),)
    by_hist = jc.Experiment.from_histograms(
        "mine", channel(), make(observed), {"bg": make(background), "more": [0.1, 0.1, 0.1]}, nuisances, exposure=0.2
    )
    by_array = jc.Experiment(
        "mine", channel(), observed, {"bg": background, "more": [0.1, 0.1, 0.1]}, nuisances, bin_edges=EDGES
    )
    assert by_hist.bin_edges == by_array.bin_edges
    assert by_hist.observable == ("N_e [electrons]" if make is filled else "bin")
    assert by_hist.exposure == 0.2
    assert float(jc.chi2(by_hist)) == pytest.approx(float(jc.chi2(by_array)), rel=1e-12)


class OwnAxis(list):
    """The protocol alone: a sequence of pairs."""

    traits = SimpleNamespace(circular=False, discrete=False)


class OwnHistogram:
    kind = "COUNT"

    def __init__(self, pairs, contents):
        self.axes, self._contents = [OwnAxis(pairs)], contents

    def values(self):
        return np.array(self._contents)


def test_any_object_with_the_protocol_will_do():
    edges, counts, label = read_histogram("x", OwnHistogram([(1.0, 2.0), (2.0, 4.0)], [3.0, 5.0]))
    assert (edges.tolist(), counts.tolist(), label) == ([1.0, 2.0, 4.0], [3.0, 5.0], "")


def _profile():
    return hist.Hist(hist.axis.Variable(EDGES), storage=hist.storage.Mean())


BAD = {
    "other edges": (filled([1, 1, 1]), {"bg": filled([1, 1, 1], [4, 5, 6, 9])}, {}, "bg: its edges"),
    "other number": (filled([1, 1, 1]), {"bg": filled([1, 1], [4, 5, 8])}, {}, "bg: its edges"),
    "edges beside": (filled([1, 1, 1]), {}, {"bin_edges": [4, 5, 6, 9]}, "bin_edges: its edges"),
    "two axes": (hist.new.Reg(3, 4, 8).Reg(2, 0, 1).Double(), {}, {}, "2 axes: project it"),
    "means": (_profile(), {}, {}, "holds means"),
    "labels": (hist.new.StrCat(["a", "b", "c"]).Double(), {}, {}, "labels or a circle"),
    "no histogram": ([1, 1, 1], {}, {}, "list is no histogram"),
    "negative": (filled([-1, 1, 1]), {}, {}, "not negative"),
    "bins of the response": (filled([1, 1], [4, 5, 8]), {}, {}, "3 bins"),
}


@pytest.mark.parametrize("case", BAD)
def test_histograms_that_do_not_fit_are_refused(case):
    observed, backgrounds, more, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        jc.Experiment.from_histograms("mine", channel(), observed, backgrounds, **more)


def test_counts_in_place_of_histograms_are_not_taken_silently():
    with pytest.raises(ValueError, match="from_histograms"):
        jc.Experiment("mine", channel(), filled([1, 1, 1]), {}, ())
    with pytest.raises(ValueError, match="from_histograms"):
        jc.Experiment("mine", channel(), [1, 1, 1], {"bg": plain([1, 1, 1])}, ())


def test_a_spectrum_from_a_histogram_keeps_its_events():
    """Steps: the integral over a response that is one within some bins is the sum of their events."""
    edges, events = [0.5, 1.0, 2.5, 3.0], [20.0, 30.0, 5.0]
    spectrum = jc.TabulatedSpectrum.from_histogram(filled(events, edges), strength=2.0)
    at = np.array([0.4, 0.51, 0.99, 1.01, 2.49, 2.51, 2.99, 3.1])
    density = [0.0, 40.0, 40.0, 20.0, 20.0, 10.0, 10.0, 0.0]
    assert np.asarray(spectrum.rates(at))[0] == pytest.approx(density)
    assert float(spectrum.strength) == 2.0
    nodes, rate = np.asarray(spectrum.recoil_keV), np.asarray(spectrum.rate)
    assert np.trapezoid(rate, nodes) == pytest.approx(sum(events), rel=1e-8)
    response = jc.detectors.interpolated_response(np.array(edges), np.ones((1, 4)), 3.0)
    one = jc.Experiment("one", jc.Channel(jc.physics.b8(), jc.physics.xenon(), response), [1], {}, ())
    assert np.asarray(jc.signal_counts(one, spectrum)) == pytest.approx([2 * 3 * sum(events)], rel=1e-6)


def test_counts_come_out_as_histograms():
    likelihood = jc.Likelihood([XENONNT, "coherent-ge-2026"])
    values = {"flux.b8": 8e6, "accidental": 1.1}
    found = jc.histograms(likelihood, values)
    counts = jc.component_counts(likelihood, values)
    for name, parts in found.items():
        assert set(parts) == {*counts[name], "total", "observed"}
        for component, one in parts.items():
            assert isinstance(one, PlottableHistogram)
            copy = hist.Hist(bh.Histogram(bh.axis.Variable(one.axes[0].edges)))
            copy[...] = one.values()
            edges, contents, _ = read_histogram("copy", copy)
            assert edges.tolist() == one.axes[0].edges.tolist()
            assert contents.tolist() == one.values().tolist()
            if component in counts[name]:
                assert one.values() == pytest.approx(np.asarray(counts[name][component]))
                assert one.variances() is None
    xenon = found[XENONNT]
    assert xenon["total"].values() == pytest.approx(sum(np.asarray(c) for c in counts[XENONNT].values()))
    assert xenon["observed"].variances().tolist() == [16.0, 14.0, 7.0]
    assert xenon["observed"].counts().tolist() == [16.0, 14.0, 7.0]
    assert xenon["signal"].axes[0].label == "cS2 [PE]"
    axis = xenon["signal"].axes[0]
    assert list(axis) == [axis[i] for i in range(len(axis))]
    assert axis == found[XENONNT]["neutron"].axes[0]


def test_a_round_trip_through_histograms():
    """Out, into a hist, and back into an experiment with the same chi2."""
    given = jc.experiment(XENONNT)
    parts = jc.histograms(given)[XENONNT]
    again = jc.Experiment.from_histograms(
        XENONNT, given.channels, parts["observed"], {k: parts[k] for k in given.backgrounds}, given.nuisances
    )
    assert float(jc.chi2(again, {"sin2w": 0.3})) == pytest.approx(float(jc.chi2(given, {"sin2w": 0.3})))


# HEPData --------------------------------------------------------------------------------------------------------


def validated(folder: Path) -> dict[str, dict]:
    """Tables by name, submission and tables valid by HEPData's own validator, as it reads them."""
    submission = folder / "submission.yaml"
    documents = list(yaml.safe_load_all(submission.read_text(encoding="utf-8")))
    validator = SubmissionFileValidator(schema_version="1.1.1")
    assert validator.validate(file_path=str(submission), data=documents), validator.get_messages(str(submission))
    tables = {}
    for document in documents[1:]:
        file = folder / document["data_file"]
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        checker = DataFileValidator(schema_version="1.1.1")
        assert checker.validate(file_path=str(file), data=table), checker.get_messages(str(file))
        lengths = {len(c["values"]) for kind in table.values() for c in kind}
        assert len(lengths) == 1, "HEPData wants as many values in each column"
        tables[document["name"]] = table
    assert {f.name for f in folder.iterdir()} == {"submission.yaml", *(d["data_file"] for d in documents[1:])}
    return tables


def column(table, kind, place):
    return [value["value"] for value in table[kind][place]["values"]]


def test_a_contour_is_a_valid_submission(tmp_path):
    region = jc.contour(XENONNT, ("sin2w", "flux"), cl=[0.683, 0.90], constrained="flux", points=16)
    files = jc.to_hepdata(region, tmp_path / "sub", description='first line\nand "quotes": #1')
    assert [f.name for f in files] == ["contour_68_3.yaml", "contour_90.yaml", "best_fit.yaml", "submission.yaml"]
    tables = validated(tmp_path / "sub")
    for cl, title in ((0.683, "68.3%"), (0.90, "90%")):
        table = tables[f"Contour of sin2w and flux.b8, {title} CL"]
        points = np.concatenate(region.lines[cl])
        assert column(table, "independent_variables", 1) == pytest.approx(points[:, 0], rel=1e-7)
        assert column(table, "dependent_variables", 0) == pytest.approx(points[:, 1], rel=1e-7)
        header = table["dependent_variables"][0]["header"]
        assert header == {"name": "flux.b8", "units": "cm^-2 s^-1"}
        named = {q["name"]: q["value"] for q in table["dependent_variables"][0]["qualifiers"]}
        assert named["CL"] == cl
        assert named["Delta chi2"] == pytest.approx(jc.chi2_threshold(cl, 2), rel=1e-6)
    best = tables["Best fit of sin2w and flux.b8"]
    assert column(best, "dependent_variables", 0) == pytest.approx(region.best_fit, rel=1e-7)
    (first, *_) = yaml.safe_load_all((tmp_path / "sub" / "submission.yaml").read_text(encoding="utf-8"))
    assert first["comment"] == 'first line\nand "quotes": #1'
    wrong = dataclasses.replace(region, problems=("a fit failed",))
    with pytest.raises(ValueError, match="not valid and not written: a fit failed"):
        jc.to_hepdata(wrong, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def _limit(mass, excluded, **more):
    return Limit("coupling", {"mass": mass}, excluded, ((0.0, 1e-5),), 2.70554, 4.0, 0.0, **more)


def test_limits_are_a_valid_submission(tmp_path):
    """Islands, open ends, nothing excluded, bands with infinite ends; small numbers stay numbers in YAML 1.1."""
    band = (1e-07, 2e-07, 3e-7, 4e-07, np.inf)
    rows = [
        _limit(1.0, ((1e-05, 3e-05), (6e-05, None)), expected=band),
        _limit(10.0, (), expected=(*band[:2], np.inf, np.inf, np.inf)),
    ]
    likelihood = jc.Likelihood(XENONNT, "scalar")
    files = jc.to_hepdata({"Scalar mediator": rows}, tmp_path, likelihood)
    assert [f.name for f in files][:2] == ["scalar_mediator_limit.yaml", "scalar_mediator_expected.yaml"]
    tables = validated(tmp_path)
    table = tables["Limits on coupling"]
    assert table["independent_variables"][0]["header"] == {"name": "mass", "units": "MeV"}
    assert column(table, "independent_variables", 0) == [1.0, 1.0, 10.0]
    assert column(table, "dependent_variables", 0) == [1e-05, 6e-05, "-"]
    assert column(table, "dependent_variables", 1) == [3e-05, "-", "-"]
    upper, expected = tables["Upper limits on coupling"]["dependent_variables"]
    assert [v["value"] for v in upper["values"]] == [1e-5, 1e-5]
    first, second = expected["values"]
    assert second == {"value": "-"}
    assert first["value"] == 3e-7
    (error,) = first["errors"]
    assert error["label"] == "1 sigma"
    assert error["asymerror"] == pytest.approx({"minus": -1e-7, "plus": 1e-7})
    with pytest.raises(ValueError, match=r"limit on coupling at \{'mass': 1.0\} is not valid"):
        jc.to_hepdata([_limit(1.0, (), problems=("no minimum",))], tmp_path / "none")
    with pytest.raises(ValueError, match="neither a contour nor limits"):
        jc.to_hepdata({"a": 3}, tmp_path / "none")
    with pytest.raises(ValueError, match="no result"):
        jc.to_hepdata({}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_limits_without_other_parameters(tmp_path):
    (limit,) = jc.limits(XENONNT, "flux")
    jc.to_hepdata([limit], tmp_path, jc.Likelihood(XENONNT))
    table = validated(tmp_path)["Limits on flux.b8"]
    ends = [column(table, "dependent_variables", k) for k in (0, 1)]
    for (low, high), *found in zip(limit.excluded, *ends, strict=True):
        assert found == [pytest.approx(x, rel=1e-7) if x is not None else "-" for x in (low, high)]


WORDS = ["-", "1e5", "yes", "null", "a: b", "# c", "é", "tab\t", "'", "[x]", "{y}", "~", "1_0", "0x1", "2024-01-01"]


def test_yaml_reads_back_what_was_written():
    content = {
        "name": "n",
        "values": [{"value": w} for w in WORDS] + [{"value": v} for v in (1e-300, -2.5e22, 0.1, 3)],
    }
    for made in (content, {"outer": [content, {"inner values": content["values"]}], "word": "yes"}):
        if "outer" in made:
            made = {"outer": [content], "word": "yes"}
        assert yaml.safe_load(_yaml(made)) == made
    assert yaml.safe_load(_flow({"a key": [1.0, "x"]})) == {"a key": [1.0, "x"]}


def test_the_command_line_writes_submissions(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = cli.guarded(lambda: cli.cli(list(words), standalone_mode=False))
        out = capsys.readouterr()
        return code, out.out, out.err

    window = ("--window", "flux=1e6:3e7", "--window", "sin2w=0:0.6")
    code, _, err = run("contour", "sin2w", "flux", *window, "--cl", "0.9", "--out", "c", "--experiments", XENONNT)
    assert code == 0, err
    assert validated(tmp_path / "c" / "hepdata")
    assert (tmp_path / "c" / "contour.csv").is_file()
    words = ("limit", "scalar", "--mass", "10", "--experiments", XENONNT, "--hepdata", "h", "--json")
    code, out, err = run(*words)
    assert code == 0, err
    (row,) = json.loads(out)
    table = validated(tmp_path / "h")["Limits on coupling"]
    assert column(table, "dependent_variables", 0) == pytest.approx([row["excluded"][0][0]], rel=1e-7)
