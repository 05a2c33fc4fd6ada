"""Compiled programs: one decorator, and a folder where they are kept for the next process, traced and compiled.

JAX's own cache keeps what XLA made and finds it by the traced program: each process traces anew, which takes longer
than most fits. Here a program is found by what it was traced from: the function, the structure and shapes of its
arguments, and the sources of this package. What comes from anywhere else (a theory in a user's file) is not kept.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pickle
import platform
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from jcevns.datasets import data_dir

__all__ = [
    "FAST",
    "RUN_ONCE",
    "RUN_SELDOM",
    "compiled",
    "forget_compiled",
    "keep_compiled",
    "kept_in",
    "kept_programs",
]

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options of programs that run a few times: to optimise them takes longer than they do."""

RUN_SELDOM = {"xla_backend_optimization_level": 1}
"""The same of those that run some dozen times: most of the speed for hardly more compilation."""

FAST = {"xla_backend_optimization_level": 3, "xla_cpu_prefer_vector_width": 512}
"""The same of the others: vectors a quarter faster than those LLVM chooses, where the processor has them."""

_LARGEST = 400_000_000  # bytes of programs kept; the least used go
_PACKAGE = Path(__file__).resolve().parent
_CHECKSUM = 32  # bytes
_VERSIONED = ("jcevns", "jax", "jaxlib", "equinox", "numpy", "builtins", "collections")  # packages in the key
_folder: Path | None = None
_programs: list[dict[Any, Callable]] = []  # of each function, those in use


class _Foreign(Exception):
    """What a program depends on has no name that lasts."""


def compiled(function: Callable | None = None, /, *, options: dict[str, Any] | None = None) -> Any:
    """Compile a function of arrays and of pytrees of arrays; what is no array is fixed in the program.

    As `equinox.filter_jit`. Programs are kept in the folder of `keep_compiled`, if it was called.

    Args:
        function: pure; at the top level of a module of this package.
        options: of the compiler, as `RUN_ONCE`; otherwise those of programs that run often.
    """
    if function is None:
        return functools.partial(compiled, options=options)
    options = FAST if options is None else options

    def flat(fixed: tuple, arrays: list) -> Any:
        tree, others = fixed
        every = iter(arrays)
        leaves = [next(every) if other is _ARRAY else other for other in others]
        args, named = jax.tree.unflatten(tree, leaves)
        return function(*args, **named)

    flat.__name__ = flat.__qualname__ = function.__name__  # in profiles and logs
    jitted = jax.jit(flat, static_argnums=0, compiler_options=options)
    inside = jax.jit(flat, static_argnums=0)  # of another program, whose options hold
    programs: dict[Any, Callable] = {}
    _programs.append(programs)
    lock = threading.Lock()
    settings = sorted(options.items())

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, named))
        arrays = [x for x in leaves if isinstance(x, _ARRAYS)]
        fixed = (tree, tuple(_ARRAY if isinstance(x, _ARRAYS) else x for x in leaves))
        if any(isinstance(x, Tracer) for x in arrays):
            return inside(fixed, arrays)
        if _folder is None or not _ordinary():
            try:
                return jitted(fixed, arrays)
            except ValueError as error:
                # Of known numbers, but while another program is traced: it has options of its own.
                if "compiler_options" not in str(error):
                    raise
                return inside(fixed, arrays)
        key = (fixed, tuple((x.shape, x.dtype, getattr(x, "weak_type", False)) for x in arrays))
        program = programs.get(key)
        if program is None:
            with lock:
                program = programs.get(key)
                if program is None:
                    program = programs[key] = _program(function, settings, key, jitted, arrays)
        return program(arrays)

    return call


class _Array:
    """Stands for an array among the leaves of arguments."""

    def __repr__(self) -> str:
        return "array"


_ARRAY = _Array()
_ARRAYS = (jax.Array, np.ndarray, np.generic)


def _ordinary() -> bool:
    """Whether calls are in double precision, on one device, and with no other setting that changes programs."""
    config: Any = jax.config
    plain = config.jax_enable_x64 and not config.jax_disable_jit and not config.jax_debug_nans
    return plain and config.jax_default_matmul_precision is None and jax.local_device_count() == 1


def _program(function: Callable, settings: list, key: tuple, jitted: Any, arrays: list) -> Callable:
    """A compiled program: from the folder, or made and put there."""
    fixed, shapes = key
    try:
        text = f"{_surroundings()} {_named(function)} {settings} {_described(fixed)} {shapes}"
    except _Foreign:
        return functools.partial(jitted, fixed)
    folder: Any = _folder
    path = folder / hashlib.sha256(text.encode()).hexdigest()
    with contextlib.suppress(Exception):  # absent, damaged, or of no use here after all: it is made again
        program = _read(path)
        jax.block_until_ready(program(arrays))
        return program
    lowered = jitted.lower(fixed, arrays)
    if "custom_call" in lowered.as_text():  # of LAPACK, say: its address is known only once something was lowered
        return lowered.compile()
    with _without_cache():
        made = lowered.compile()
    with contextlib.suppress(Exception):  # no room, or a program that cannot be written: it serves this process
        _write(path, made)
    return made


_compiling = threading.Lock()
_compilations, _cached = 0, True


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Keep JAX's cache out: what it gives back cannot be written again. Compilations may overlap."""
    global _compilations, _cached
    with _compiling:
        if not _compilations:
            _cached = _use_cache(False)
        _compilations += 1
    try:
        yield
    finally:
        with _compiling:
            _compilations -= 1
            if not _compilations:
                _use_cache(_cached)


def _use_cache(on: bool) -> bool:
    """Whether it was in use before."""
    before: bool = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    if before != on:
        jax.config.update("jax_enable_compilation_cache", on)
        compilation_cache.reset_cache()
    return before


def _read(path: Path) -> Callable:
    whole = path.read_bytes()
    content = whole[_CHECKSUM:]
    if hashlib.sha256(content).digest() != whole[:_CHECKSUM] or not _private(path):
        raise ValueError(path)
    code, arguments, result = pickle.loads(content)
    trees = jax.tree.structure(arguments), jax.tree.structure(result)
    program = serialize_executable.deserialize_and_load(code, *trees)
    os.utime(path)
    return program


def _write(path: Path, made: Any) -> None:
    code, arguments, result = serialize_executable.serialize(made)
    # Structures by an example each: those with classes in them cannot be written themselves.
    examples = [jax.tree.unflatten(tree, range(tree.num_leaves)) for tree in (arguments, result)]
    content = pickle.dumps((code, *examples))
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(hashlib.sha256(content).digest() + content)
        part.chmod(0o600)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _make_room(path.parent)


@functools.lru_cache(maxsize=1)
def _make_room(folder: Path) -> None:
    """Once in a process: delete what was not used for longest."""
    entries = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= _LARGEST:
            return
        path.unlink(missing_ok=True)
        total -= size


def keep_compiled(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs for the next process: the second run of a script starts at once.

    The command line does so by itself. Programs are found by the sources and tables of this package, not by what is
    changed in it while it runs: do not use it where constants of the package are replaced. What is in the folder is
    run: it must be yours alone.

    Args:
        folder: it is made. If absent, the one that `JAX_COMPILATION_CACHE_DIR` names, or `jcevns` among the user's
            caches.

    Returns:
        The folder; None, after a warning, where it cannot be written or others may write there: nothing is kept then.

    Example:
        >>> import tempfile
        >>> import jcevns as jc
        >>> with tempfile.TemporaryDirectory() as place:
        ...     kept = jc.keep_compiled(place)
        ...     print(jc.fit("xenonnt-2024-s2", "flux"))
        flux.b8 = 5.7 +3.2 -2.8 1e6 cm^-2 s^-1 (68%, xenonnt-2024-s2)
    """
    global _folder
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR") if folder is None else None
    base = None
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: nobody's home
        base = _usable(Path(named or folder or _cache()))
    _folder = None if base is None else base / "programs"
    if not named:
        jax.config.update("jax_compilation_cache_dir", None if base is None else str(base / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if base is None:
        warnings.warn(
            "compiled code is not kept, each start is slow: its folder cannot be written, or is not yours alone",
            stacklevel=2,
        )
    return base


def _usable(base: Path) -> Path | None:
    """The folder, made if it is not there; None if others may write to it, or we may not."""
    own = base / "programs"
    own.mkdir(parents=True, exist_ok=True)
    return base if _private(base, own) and os.access(own, os.W_OK) else None


def kept_programs() -> list[Path]:
    """Files of the programs that are kept, of this process and others; none if `keep_compiled` was not called."""
    return [] if _folder is None else sorted(p for p in _folder.iterdir() if p.suffix != ".part")


def kept_in() -> Path | None:
    """The folder that `keep_compiled` was given or chose; None if nothing is kept."""
    return None if _folder is None else _folder.parent


def forget_compiled() -> None:
    """Keep no more programs in this process, nor use those kept: for code that may change what they rest on."""
    global _folder
    _folder = None
    for programs in _programs:
        programs.clear()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "jcevns"


def _private(*paths: Path) -> bool:
    """Whether nobody else may write there."""
    found = [path.stat() for path in paths]
    return not hasattr(os, "getuid") or all(s.st_uid == os.getuid() and not s.st_mode & 0o002 for s in found)


@functools.lru_cache(maxsize=1)
def _surroundings() -> str:
    """What programs rest on beside their arguments: sources, tables, versions, the processor."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + path.read_bytes())
    try:
        for path in sorted(data_dir().iterdir()):
            digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    except (OSError, ValueError) as error:
        raise _Foreign from error
    device = jax.local_devices()[0]
    versions = [metadata.version(name) for name in ("jax", "jaxlib", "equinox", "jaxtyping", "numpy")]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    hardware = device.device_kind, device.client.platform_version, _processor()
    return f"{digest.hexdigest()} {sys.version} {versions} {flags} {hardware}"


def _processor() -> str:
    """What the machine code of this processor may hold."""
    kinds = ("model name", "flags", "Features")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        return " ".join(line for line in lines if line.startswith(kinds))
    return f"{platform.machine()} {platform.processor()}"


def _described(given: Any) -> str:
    """Text that is the same in each process for the same structure.

    Raises:
        _Foreign: there is none, or code of somebody else is in it.
    """
    if given is None or isinstance(given, bool | int | float | complex | str | bytes | _Array):
        return repr(given)
    if isinstance(given, tuple | list):
        return f"({type(given).__name__} {' '.join(map(_described, given))})"
    if isinstance(given, dict):
        return f"{{{' '.join(f'{_described(k)}:{_described(v)}' for k, v in given.items())}}}"
    if isinstance(given, frozenset | set):
        return f"<{' '.join(sorted(map(_described, given)))}>"
    if isinstance(given, jax.tree_util.PyTreeDef):
        kind, data = given.node_data() or (None, None)
        return f"[{_described(kind)} {_described(data)} {' '.join(map(_described, given.children()))}]"
    if isinstance(given, type | types.FunctionType):
        return _named(given)
    if isinstance(given, np.dtype | Enum):
        return f"{_named(type(given))} {given!s}"
    if dataclasses.is_dataclass(given):
        fields = [getattr(given, field.name, None) for field in dataclasses.fields(given)]
        return f"{_named(type(given))} {_described(fields)}"
    if type(given).__module__.startswith("equinox.") and " at 0x" not in repr(given):  # a field that is absent
        return f"{_named(type(given))} {given!r}"
    raise _Foreign(repr(given))


def _named(code: Any) -> str:
    """A class or function of a package with a version, by its place."""
    if code.__module__.partition(".")[0] not in _VERSIONED or "<" in code.__qualname__:
        raise _Foreign(code.__qualname__)
    return f"{code.__module__}.{code.__qualname__}"
