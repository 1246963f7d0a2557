"""`poets kubernetes` as typed, in this process."""

import argparse

from poets.cli import kubernetes


def poets(*words):
    """Runs `poets kubernetes words` and returns its exit code."""
    parser = argparse.ArgumentParser()
    kubernetes.add_arguments(parser)
    args = parser.parse_args(words)
    return args.func(args)
