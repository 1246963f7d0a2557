"""`python -m poets` is the `poets` command."""

import sys

from poets.cli import run

sys.exit(run())
