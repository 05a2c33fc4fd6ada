"""Run the benchmarks, print a table, write benchmarks/results/latest.json."""

import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

from benchmarks import foundation, machine  # noqa: E402


def main() -> None:
    """Every group in turn."""
    where = machine.describe()
    print(f"{where['cpu']}, {where['cores']} cores, {', '.join(where['devices'])}, {where['date']}")
    results = foundation.run()
    for key, value in results.items():
        target = foundation.TARGETS.get(key)
        verdict = "" if target is None else f"   target {target:g}: {'met' if value <= target else 'MISSED'}"
        print(f"{key:36} {value:10.4g}{verdict}")
    out = Path(__file__).parent / "results" / "latest.json"
    out.write_text(json.dumps({"machine": where, "foundation": results}, indent=2) + "\n")
    print(f"written to {out}")


main()
