"""`python -m corkboard`: the command line."""

from corkboard.cli import main

main()
