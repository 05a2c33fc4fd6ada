"""Command line: `jcevns --help`."""

from jcevns.cli import mediators, standard, statistics
from jcevns.cli.app import cli, guarded, main

__all__ = ["cli", "guarded", "main", "mediators", "standard", "statistics"]
