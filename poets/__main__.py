"""`python -m poets` is the `poets` command."""

from poets.cli import main

main()
