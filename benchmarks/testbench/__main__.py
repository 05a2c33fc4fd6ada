"""Run the test-bench: benchmarks/results/testbench.json and docs/testbench.md."""

import argparse
from pathlib import Path

from tqdm import tqdm

from benchmarks import machine
from benchmarks.testbench.page import page, summary, text
from benchmarks.testbench.run import execute, plan
from benchmarks.testbench.store import Store

ROOT = Path(__file__).parents[2]
VERSION = 2  # of the models that a seed stands for


def main() -> None:
    """Go on with a run until it is finished or the time is over, then sum up what is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.testbench", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="after which no part is begun")
    parser.add_argument("--store", type=Path, default=Path("testbench"), help="folder of finished parts")
    parser.add_argument("--models", type=int, default=1_000_000, help="binned models; of the others in proportion")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "testbench.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "testbench.md")
    options = parser.parse_args()
    if options.models < 1 or options.workers < 1 or not options.hours >= 0:
        parser.error("models and workers must be positive, hours not negative")
    store, todo = Store(options.store, {"seed": options.seed, "version": VERSION}), plan(options.models)
    with tqdm(total=sum(todo.values()), unit="part") as bar:
        execute(todo, store, options.seed, options.hours, options.workers, bar.update)
    found = summary({kind: store.parts(kind, count) for kind, count in todo.items()})
    content = {"machine": machine.describe(), "seed": options.seed, "asked": options.models, **found}
    options.out.write_text(text(content), encoding="utf-8")
    options.page.write_text(page(content), encoding="utf-8")
    print(f"written: {options.out}, {options.page}")


if __name__ == "__main__":
    main()
