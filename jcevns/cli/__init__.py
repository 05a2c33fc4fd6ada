"""Command line: `jcevns --help`."""

from jcevns.cli import exclusions, fits, listings, sampling, standard, statistics, warmup
from jcevns.cli.app import cli, guarded, main

__all__ = ["cli", "exclusions", "fits", "guarded", "listings", "main", "sampling", "standard", "statistics", "warmup"]
