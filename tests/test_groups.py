"""Groups of experiments: independent events, nothing left out in silence."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner

import jcevns as jc
from jcevns.cli.app import cli
from jcevns.experiments.catalogue import EXPERIMENTS, experiment
from jcevns.experiments.groups import GROUPS, expand, left_out


@pytest.mark.parametrize("name", GROUPS)
def test_members_have_independent_events(name) -> None:
    built = [experiment(member) for member in GROUPS[name].members]
    for one, other in itertools.combinations(built, 2):
        assert not set(one.runs) & set(other.runs), (one.name, other.name)
        assert one.runs


def test_every_experiment_is_in_a_group_or_left_out_with_a_reason() -> None:
    named = {n.partition(":")[0] for group in GROUPS.values() for n in (*group.members, *group.left_out)}
    assert named == set(EXPERIMENTS)
    for group in GROUPS.values():
        assert not {n.partition(":")[0] for n in group.members} & set(group.left_out)
        for other, why in group.left_out.items():
            assert len(why) > 10
            if "same runs" in why:
                with pytest.raises(ValueError, match=r"same events|the same runs"):
                    jc.Likelihood([*group.members, other])


def test_a_group_is_its_members() -> None:
    group, members = jc.Likelihood("all-8b"), jc.Likelihood(GROUPS["all-8b"].members)
    assert group.names == members.names
    assert float(jc.chi2(group)) == float(jc.chi2(members))
    assert expand(["texono-2010", "all-8b"]) == ["texono-2010", *GROUPS["all-8b"].members]


def test_all_on_electrons_is_the_sum() -> None:
    alone = [float(jc.chi2(jc.Likelihood(name), {"sin2w": 0.25})) for name in GROUPS["all-er"].members]
    np.testing.assert_allclose(float(jc.chi2("all-er", {"sin2w": 0.25})), sum(alone), rtol=1e-12)


def test_groups_take_no_options_and_unknown_ones_are_suggested() -> None:
    with pytest.raises(ValueError, match="a group takes no options, name its experiments: xenonnt-2026"):
        expand(["all-8b:table=T3"])
    with pytest.raises(ValueError, match="all-8b"):
        expand(["all-b8"])


def test_the_command_line_says_what_is_left_out() -> None:
    result = CliRunner().invoke(cli, ["fit", "sin2w", "--experiments", "all-er", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["experiments"] == list(GROUPS["all-er"].members)
    assert all(sentence in result.stderr for sentence in left_out(["all-er"]))
    assert left_out(["all-8b"])[0].startswith("all-8b leaves out xenonnt-2024: it holds events")
    listing = CliRunner().invoke(cli, ["experiments"]).output
    assert all(f"{name:18} {group.about}" in listing for name, group in GROUPS.items())


@pytest.mark.slow
def test_all_cevns_is_fitted_at_once() -> None:
    """The mixing angle from all CEvNS data: between those of its parts, and no less precise than COHERENT's CsI."""
    everything = jc.fit("all-cevns", "sin2w")
    alone = jc.fit("coherent-csi-2021:shapes=none", "sin2w")
    assert everything.valid
    assert alone.valid
    (low, high), (least, most) = (f.intervals["sin2w"][0].segments[0] for f in (everything, alone))
    assert least < everything.values["sin2w"] < most
    assert high - low < most - least


def test_out_of_memory_is_one_line(monkeypatch, capsys) -> None:
    from jcevns.cli import guarded

    def fails() -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 59478576320 bytes.")

    assert guarded(fails) == 1
    assert "shapes=none" in capsys.readouterr().err
