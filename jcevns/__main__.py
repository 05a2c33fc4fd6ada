"""`python -m jcevns`: the command line."""

from jcevns.cli import main

main()
