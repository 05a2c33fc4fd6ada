"""Random files, tables and command lines: exit code 0 or 2, one line of explanation, nothing written on failure."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jcevns import cli

QUIET = {
    "derandomize": True,
    "print_blob": False,
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

XENONNT = "xenonnt-2024-s2"


def words(text: str) -> list[str]:
    """What is between spaces."""
    return text.split()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcome(*arguments: str) -> tuple[int, str, str, set[str]]:
    """Exit code, both streams, and what is new in the folder."""
    out, err, before = io.StringIO(), io.StringIO(), set(os.listdir("."))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.guarded(lambda: cli.cli(list(arguments), standalone_mode=False))
    return code, out.getvalue(), err.getvalue(), set(os.listdir(".")) - before


def judge(code: int, out: str, err: str, new: set[str]) -> None:
    """Done, or one line and nothing else."""
    assert code in (0, 2), (code, err)
    assert "Traceback" not in err
    assert "internal error" not in err
    if code == 2:
        assert out == "", out
        assert len(err.splitlines()) == 1, err
        assert len(err) < 2000, err
        assert not new


TEXTS = st.one_of(
    st.sampled_from([*words("nan 1 a.b ../x =1+1 <b> $x$ signal bg flux p.csv none.csv ."), ""]),
    st.text(max_size=6),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 0.5, 1e300, 1e-300, 1e308, -1e308, 10**30, 10**400, float("nan"), float("inf")]),
    st.floats(0.1, 10.0),
    st.integers(-3, 20),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.booleans(), st.just({})), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def written(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(str(k))} = {written(v)}' for k, v in value.items())}}}"
    return repr(value)


def mended(good: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly what is good, else anything."""
    return st.one_of(good, good, good, VALUES)


PARAMETER = st.fixed_dictionaries(
    {"name": mended(st.sampled_from(["bg", "efficiency", "flux.b8"])), "sigma": mended(st.floats(0.01, 1.0))},
    optional={
        "components": mended(st.sampled_from([["bg"], ["signal"], ["signal", "bg"], {"bg": 0.1}])),
        "shared": mended(st.booleans()),
        "bounds": mended(st.just([0.5, 2.0])),
        "kind": mended(st.sampled_from(["normalisation", "shape"])),
        "anchors": mended(st.just([-1.0, 0.0, 1.0])),
    },
)
FILES = st.fixed_dictionaries(
    {
        "name": mended(st.just("t")),
        "observed": mended(st.just([5, 3])),
        "exposure_tonne_year": mended(st.floats(0.01, 1.0)),
        "bin_edges": mended(st.just([4.0, 6.0, 8.0])),
        "response": mended(
            st.sampled_from(
                [
                    {"charge_yield": "nest"},
                    {"probabilities": "p.csv"},
                    {"resolution": {"sqrt": 0.3}, "quenching": 0.2},
                ]
            )
        ),
    },
    optional={
        "backgrounds": mended(st.fixed_dictionaries({"bg": mended(st.just([2.0, 2.0]))})),
        "parameters": mended(st.lists(PARAMETER, max_size=2)),
        "correction": mended(st.just([1.0, 1.0])),
        "flux": mended(st.sampled_from(["b8", "hep"])),
        "flux_options": VALUES,
        "target": mended(st.just("xenon")),
        "notes": mended(st.just(["a note"])),
        "observable": TEXTS,
        "shape": TEXTS,
        "gain_per_electron": NUMBERS,
    },
)


@settings(max_examples=120, **QUIET)
@given(FILES)
def test_any_file_is_read_or_refused(values):
    Path("p.csv").write_text("recoil_keV,bin0,bin1\n0,0,0\n1,0.5,0.3\n10,0.1,0.2\n", encoding="utf-8")
    text = "".join(f"{key} = {written(value)}\n" for key, value in values.items())
    Path("a.toml").write_text(text, encoding="utf-8", errors="replace")
    judge(*outcome("parameters", "--experiments", "a.toml"))


@settings(max_examples=40, **QUIET)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_no_file(content, marked):
    Path("a.toml").write_bytes((b"\xff\xfe" if marked else b"") + content)
    code, out, err, new = outcome("parameters", "--experiments", "a.toml")
    judge(code, out, err, new)
    assert code == 2


CELLS = st.one_of(st.sampled_from([*words('0 1 2.5 10 -1 nan inf 1e300 " =1+1 # 1_0'), "", " "]), st.text(max_size=3))
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=4)


@settings(max_examples=60, **QUIET)
@given(
    st.sampled_from(["recoil_keV,events_per_tonne_year_keV", "recoil_keV,efficiency", "a,b", ""]),
    TABLES,
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_table_is_read_or_refused(header, rows, end):
    text = end.join([header, *(",".join(row) for row in rows)])
    Path("a.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    judge(*outcome("parameters", "--theory", "spectrum:a.csv", "--experiments", XENONNT))
    top = 'name = "t"\nobserved = [5, 3]\nbin_edges = [4, 6, 8]\nexposure_tonne_year = 0.01\n'
    Path("a.toml").write_text(f'{top}[response]\ncharge_yield = "nest"\nefficiency = "a.csv"\n', encoding="utf-8")
    judge(*outcome("parameters", "--experiments", "a.toml"))


WORDS = st.one_of(
    st.sampled_from(
        words(
            "0 1 -1 nan inf 1e300 1e-300 1:2 2:1:3 1:2:3 1:2:99999999999 1/2 2/1 0.9 0.9,0.9 1.5 . newton winter2006"
        )
        + words("a=1 sin2w=nan sin2w=1e300 sin2w=1:2 flux=5 flux=0 mass=10 coupling=-1 sin2w flux coupling strength")
        + words(
            "scalar vector:kappa=1:kappa=1 scalar:mass=x b-l+scalar spectrum:none.csv none.py:A none.toml none.zarr"
        )
        + words("xenonnt-2024-s2 xenonnt-2024-s2:shape=1 pandax4t-us2:field=1e300 sin2w=uniform:1:0 flux=normal:0:0")
    ),
    st.text(max_size=5),
)
OPTIONS = (
    words("--experiments --theory --at --profile --constrained --shape --cl --dof --minimum --over --mass --coupling")
    + words("--axis --window --prior --parameters --parameter --values --toys --seed --store --out --spectrum --b8")
    + words("--flavours --shard --exposure --background --systematics --minimiser --json --no-errors --only --csv")
    + words("--sin2w --flux --thresholds --form-factor --target-accept --chains --nothing")
)
COMMANDS = words("fit limit scan contour posterior toys project spectrum plot parameters data reproduce fitt")


@settings(max_examples=150, **QUIET)
@given(
    st.sampled_from(COMMANDS),
    st.lists(WORDS, max_size=2),
    st.lists(st.tuples(st.sampled_from(OPTIONS), WORDS), max_size=3),
)
def test_any_command_line_runs_or_is_refused(command, words, options):
    line = [command, *words, *(part for pair in options for part in pair)]
    if "reproduce" in line and "--only" not in line:
        return  # all of it: minutes
    judge(*outcome(*line))


BASES = [
    ["fit", "flux", "--no-errors", "--experiments", XENONNT],
    ["fit", "coupling", "--theory", "scalar", "--at", "mass=10", "--no-errors", "--experiments", XENONNT],
    ["limit", "scalar", "--mass", "10", "--experiments", XENONNT],
    ["scan", "scalar", "--mass", "1,10", "--coupling", "1e-6,1e-5", "--out", "s.zarr", "--experiments", XENONNT],
    ["toys", "significance", "--toys", "9", "--experiments", XENONNT],
    ["spectrum", "--thresholds", "0.5,1"],
]


@settings(max_examples=60, **QUIET)
@given(st.sampled_from(BASES), st.integers(1, 8), WORDS, st.tuples(st.sampled_from(OPTIONS), WORDS), st.booleans())
def test_a_good_command_line_with_a_slip(base, place, word, more, added):
    line = [*base, *more] if added else [*base[:place], word, *base[place + 1 :]]
    with tempfile.TemporaryDirectory(dir=".") as folder, contextlib.chdir(folder):
        judge(*outcome(*line))
