"""Scans of 1e4 to 1e8 points, streamed to a store: time, memory and bytes per point, and what a restart costs.

`python -m benchmarks.scale` writes benchmarks/results/scale.json; 1e8 points take four gigabytes and some minutes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scale.json"


def one(points: int, folder: Path) -> dict[str, Any]:
    """A scan of XENONnT's and PandaX-4T's likelihood over mass and coupling of a vector, in this process."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np

    import jcevns as jc
    from jcevns.statistics.scan import fill_store
    from jcevns.statistics.store import holdings

    likelihood = jc.Likelihood(["xenonnt-2024-s2", "pandax4t-us2"], "vector")
    store, side = folder / "scan.zarr", round(points**0.5)

    def filled(side: int, store: Path) -> float:
        axes = {"mass": np.geomspace(1e-3, 1e5, side), "coupling": np.geomspace(1e-8, 1.0, side)}
        before = time.perf_counter()
        fill_store(likelihood, axes, store, progress=False)
        return time.perf_counter() - before

    filled(min(side, 1000), folder / "compiled.zarr")
    begun = resource.getrusage(resource.RUSAGE_SELF)
    seconds = filled(side, store)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = machine.peak_gigabytes()
    cpu = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
    again = filled(side, store)
    before = time.perf_counter()
    found = holdings(store)
    files = [os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(store) for name in names]
    return {
        "points": found.points,
        "invalid": found.points - found.valid,
        "seconds": seconds,
        "us_per_point": 1e6 * seconds / found.points,
        "million_points_per_core_hour": 3.6e-3 * found.points / cpu,
        "restart_seconds": again,
        "reading_seconds": time.perf_counter() - before,
        "bytes_per_point": sum(files) / found.points,
        "files": len(files),
        "peak_gigabytes": peak,
    }


def main() -> None:
    """Each size in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--points", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.one:
            print(json.dumps(one(round(options.one), Path(folder))))
            return
        sizes = []
        for points in options.points:
            command = [sys.executable, "-m", "benchmarks.scale", "--one", str(points)]
            found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            sizes.append(json.loads(found.stdout.splitlines()[-1]))
            print(sizes[-1], flush=True)
    content = {"machine": machine.describe(), "sizes": sizes}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
