"""Coverage of limits from ionisation signals alone: `python -m benchmarks.coverage_s2only --store DIR`.

Toys of the released likelihood of `xenonnt-s2only-2026` at 8B strengths 0, 0.5 and 1: half of them, drawn at the
nuisances fitted to the data, make the thresholds; the other half, at nominal ones, are tried on them. Finished toys
are kept in the store, and results are written after each thousand: a run that was stopped goes on from there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from tqdm import tqdm  # noqa: E402

import jcevns as jc  # noqa: E402
from benchmarks import machine  # noqa: E402
from jcevns.experiments.xenonnt_official import TEMPLATE_FLUX  # noqa: E402
from jcevns.statistics.toys import BLOCK  # noqa: E402

__all__ = ["RESULTS", "measure"]

RESULTS = Path(__file__).parent / "results" / "coverage_s2only.json"
EXPERIMENT = "xenonnt-s2only-2026:flux=release:template=released"
STRENGTHS, CL, SEED = (0.0, 0.5, 1.0), 0.90, 1
KINDS = {
    "Feldman-Cousins, by toys": {"calibrated": True},
    "Delta chi2 = 2.71": {},
    "one-sided, by toys": {"calibrated": True, "upper": True},
    "q-tilde = 1.64": {"upper": True},
}
"""What is tried, as arguments of `jcevns.coverage`."""


def measure(strength: float, toys: int, store: Path) -> list[dict[str, Any]]:
    """Coverage of every kind of limit at one true strength; all of them share the toys of the store."""
    rows = []
    for kind, how in KINDS.items():
        (found,) = jc.coverage(EXPERIMENT, "flux", [strength * TEMPLATE_FLUX], [CL], toys, SEED, store=store, **how)
        rows.append({"strength": strength, "kind": kind} | found.to_dict())
    return rows


def main() -> None:
    """Throw what is missing, write the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage_s2only")
    parser.add_argument("--toys", type=int, default=10_000, help="per strength, and as many for the thresholds")
    parser.add_argument("--store", type=Path, required=True, help="folder of finished toys")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options, rows = parser.parse_args(), []
    for toys in tqdm(range(BLOCK, options.toys + 1, BLOCK)):
        rows = [row for s in STRENGTHS for row in measure(s, toys, options.store)]
        settings = {"experiment": EXPERIMENT, "cl": CL, "seed": SEED, "toys": toys}
        content = {"machine": machine.describe(), "settings": settings, "results": rows}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['strength']:4} {row['kind']:26} {100 * row['coverage']:.2f} +- {100 * row['error']:.2f}%")


if __name__ == "__main__":
    main()
