"""Seeded moments: a few in every run of the tests, all of them in `make soak`."""

from collections.abc import Collection

import pytest


def seeds(count: int, always: Collection[int]) -> list[object]:
    """Returns the seeds 0 to `count` as parameters, most of them for the soak.

    Args:
      count: how many there are.
      always: those that run in `make test`, one for each phase at least.
    """
    return [
        pytest.param(seed, marks=[] if seed in always else pytest.mark.soak)
        for seed in range(count)
    ]
