"""Runs the `poets` command for `python -m poets`."""

from poets.cli import main

main()
