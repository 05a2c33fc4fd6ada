"""Command line: `jcevns --help`."""

from jcevns.cli import bayes, mediators, standard, statistics
from jcevns.cli.app import cli, guarded, main

__all__ = ["bayes", "cli", "guarded", "main", "mediators", "standard", "statistics"]
