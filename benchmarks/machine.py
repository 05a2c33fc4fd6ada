"""What a result was measured on, and a timer."""

import datetime
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("jcevns", "jax", "jaxlib", "numpy", "scipy", "equinox"),
    *("iminuit", "pyhf", "optimistix", "optax"),  # the other fitters, which may be missing
)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def peak_gigabytes() -> float:
    """The most memory of this process so far; `ru_maxrss` is in KiB on Linux, in bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def describe() -> dict[str, Any]:
    """Machine, devices, versions and date."""
    import jax

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def median_seconds(call: Callable[[], Any], repeat: int = 20) -> float:
    """Median wall time of a call that blocks until its result is there, after one warm-up."""
    call()
    times = []
    for _ in range(repeat):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times)
