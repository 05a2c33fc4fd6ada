"""Compiled programs that are kept: found by what they were traced from, and never by anything less."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns import compiled as module
from jcevns.compiled import compiled, forget_compiled, keep_compiled

FIT = """
import jax, sys
jax.config.update("jax_enable_x64", True)
traced = []
jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: traced.append(event))
import jcevns as jc
jc.keep_compiled(sys.argv[1])
fit = jc.fit("xenonnt-2024-s2", "flux")
# With a determinant, by LAPACK: such a program is compiled in each process.
draws = jc.laplace("xenonnt-2024-s2", {"flux": [0.0, 4e6, 8e6, 2e7]})
compilations = sum(event.endswith("backend_compile_duration") for event in traced)
print(repr(float(fit.values["flux.b8"])), repr(float(draws.density[1])), compilations)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Programs are kept in a folder of the test's own, and JAX's settings come back."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(module, "_folder", None)
    keep_compiled(tmp_path)
    yield tmp_path / "programs"
    forget_compiled()
    jax.config.update("jax_compilation_cache_dir", before)
    module.compilation_cache.reset_cache()


def run(code: str, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_second_process_hardly_compiles(tmp_path):
    value, density, compilations = run(FIT, str(tmp_path))
    kept = files(tmp_path / "programs")
    assert int(compilations) >= 10
    assert len(kept) >= 5
    again = run(FIT, str(tmp_path))
    assert again[:2] == [value, density]
    assert int(again[2]) <= 2  # the program with a determinant
    assert files(tmp_path / "programs") == kept


def test_damaged_programs_are_made_again(tmp_path):
    value, density, _ = run(FIT, str(tmp_path))
    kept = files(tmp_path / "programs")
    for k, name in enumerate(kept):
        path = tmp_path / "programs" / name
        path.write_bytes([b"", kept[name][:-7], kept[name][:40] + b"x" + kept[name][41:]][k % 3])
    again = run(FIT, str(tmp_path))
    assert again[:2] == [value, density]
    assert {name: len(content) for name, content in files(tmp_path / "programs").items()} == {
        name: pytest.approx(len(content), rel=0.05) for name, content in kept.items()
    }


def refused() -> bool:
    with pytest.warns(UserWarning, match="not yours alone"):
        found = keep_compiled()
    return found is None and module._folder is None and jax.config.jax_compilation_cache_dir is None


def test_a_folder_of_others_is_not_used(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = tmp_path / "jcevns"
    assert keep_compiled() == base
    for place in (base, base / "programs"):
        place.chmod(0o777)
        assert refused()
        place.chmod(0o755)
    assert keep_compiled() == base
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
        assert refused()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not in whatever folder we are in
    assert keep_compiled() == Path.home() / ".cache" / "jcevns"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert refused()


@compiled
def line(table: dict, x: jax.Array, power: int, name: str = "a") -> tuple:
    """A function with a static argument, a pytree and a pytree back."""
    return {"value": table[name] * x**power}, jnp.sum(x)


def test_a_program_is_found_by_all_it_was_traced_from(folder):
    # Code of a test has no version: it is not kept, and works as ever.
    x = np.arange(3.0)
    first = line({"a": 2.0 * np.ones(3), "b": np.ones(3)}, x, 2)
    np.testing.assert_allclose(first[0]["value"], [0, 2, 8])
    assert files(folder) == {}
    structure = jax.tree.structure(jc.StandardModel())
    text = module._described((structure, (2, "a", None)))
    assert "jcevns.physics.standard_model.StandardModel" in text
    for other in [(structure, (3, "a", None)), (structure, (2, "b", None)), (structure, (2.0, "a", None))]:
        assert module._described(other) != text
    theories = [
        jc.StandardModel(),
        jc.VectorMediator(),
        jc.ScalarMediator(),
        jc.theory("vector:kappa=-0.333"),
        jc.NSI(),
    ]
    models = [jc.Likelihood(name).model for name in ("xenonnt-2024-s2", "pandax4t-us2", "texono-2010")]
    structures = [jax.tree.structure(one) for one in theories + models]
    for a, b in itertools.combinations(structures, 2):
        assert (module._described(a) == module._described(b)) == (a == b)


@pytest.mark.parametrize(
    "foreign",
    [lambda x: x, type("Mine", (jc.StandardModel,), {}), object(), np.arange(3), {"key": object()}],
    ids=["lambda", "class", "object", "array", "nested"],
)
def test_what_has_no_lasting_name_is_not_kept(foreign):
    with pytest.raises(module._Foreign):
        module._described((1, foreign))


def test_values_gradients_and_batches_are_those_without(folder):
    likelihood = jc.Likelihood("xenonnt-2024-s2")
    kept = float(jc.profile(likelihood).chi2)
    assert files(folder)
    slope = jax.grad(lambda s: jc.profile(likelihood, {"sin2w": s}).chi2)(0.25)
    assert any(module._programs)
    forget_compiled()
    assert not any(module._programs)
    assert float(jc.profile(likelihood).chi2) == kept
    assert float(jax.grad(lambda s: jc.profile(likelihood, {"sin2w": s}).chi2)(0.25)) == float(slope)


def test_known_numbers_inside_another_program():
    """Compiler options are refused there; signals of constants were, too."""
    likelihood = jc.Likelihood("xenonnt-2024-s2")
    alone = float(jc.chi2(likelihood, {"flux": 6e6}))
    counts = jc.signal(likelihood, {"flux": 6e6})
    inside = jax.jit(lambda x: (x + jc.chi2(likelihood, {"flux": 6e6}), jc.signal(likelihood, {"flux": 6e6})))(0.0)
    assert float(inside[0]) == pytest.approx(alone, rel=1e-12)
    np.testing.assert_allclose(inside[1], counts, rtol=1e-12)


def test_a_theory_file_turns_keeping_off(folder, tmp_path):
    (tmp_path / "mine.py").write_text("import jcevns as jc\nclass Mine(jc.StandardModel):\n    pass\n")
    jc.theory(f"{tmp_path}/mine.py:Mine")
    assert module._folder is None


def test_other_settings_have_other_programs_or_none(folder):
    before = files(folder)
    with jax.disable_jit():
        assert not module._ordinary()
    with jax.default_matmul_precision("highest"):
        assert not module._ordinary()
    assert module._ordinary()
    assert files(folder) == before


def test_warmup_keeps_what_a_fit_takes(tmp_path):
    command = [sys.executable, "-m", "jcevns"]
    settings = {**os.environ, "JAX_COMPILATION_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path)}

    def call(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], env=settings, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    out = call("warmup", "flux", "--experiments", "xenonnt-2024-s2")
    kept = files(tmp_path / "jcevns" / "programs")
    assert f"{len(kept)} programs" in out
    assert "flux.b8:" in out
    call("fit", "flux", "--experiments", "xenonnt-2024-s2")
    assert files(tmp_path / "jcevns" / "programs") == kept
    out = call(
        "warmup", "--theory", "scalar", "--at", "mass=10,sin2w=0.23,r0=1.23", "--experiments", "xenonnt-2024-s2"
    )
    assert "mass" not in out
    assert "sin2w" not in out
    assert "a_k: " in out
    assert len(files(tmp_path / "jcevns" / "programs")) > len(kept)


@pytest.mark.parametrize("on", [True, False])
def test_the_cache_of_jax_is_as_it_was_after_a_compilation(on):
    jax.config.update("jax_enable_compilation_cache", on)
    try:
        with module._without_cache(), module._without_cache():
            assert not jax.config.jax_enable_compilation_cache
        assert jax.config.jax_enable_compilation_cache == on
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_the_folder_stays_small(folder, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", 1000)
    for k in range(5):
        path = folder / f"program-{k}"
        path.write_bytes(bytes(400))
        os.utime(path, (k, k))
    module._make_room.cache_clear()
    module._make_room(folder)
    assert sorted(files(folder)) == ["program-3", "program-4"]
