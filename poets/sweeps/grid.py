"""Reads combinations of flags from `--grid` and `--runs`, and names them.

    --grid learning_rate=0.001,0.01,1.0 --grid train_batch_size=25,50,100

    image-retraining-lr0.01-bs-50

Names are those of the original's chart for these two flags; other flags appear under
their own name. `poets kubernetes manifests` and `poets sweep` share them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from poets.errors import ConfigError, format_problems, nearest
from poets.flags import FIELDS
from poets.storage import read_url
from poets.system.command_line import bare

SHORT = {"learning_rate": "lr", "train_batch_size": "bs-"}
SUMMARIES = "training_summaries"
MAX_NAME = 120
"""Characters; with a suffix, a name must fit in the 255 bytes of a file name."""

Axis = tuple[str, tuple[str, ...]]
"""A flag and its values."""


def parse_axis(text: str) -> Axis:
    """Returns the flag and the values of one `--grid`.

    Raises:
      ConfigError: if the flag is unknown, or values are missing or repeated.
    """
    flag, _, values = text.partition("=")
    name = bare(flag)
    if name not in FIELDS:
        raise ConfigError(f"--grid={text!r}: no flag {name!r}{nearest(name, FIELDS)}")
    chosen = tuple(value.strip() for value in values.split(","))
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"--grid={text!r}: give different values, like --grid {name}=1,2,3"
        )
    return name, chosen


def read_runs(url: str) -> list[tuple[int, dict[str, Any]]]:
    """Returns a list of combinations, each with the number of its line.

    Args:
      url: a file of JSON lines in any storage, each an object of flags and values, like
        `args` of the job context: {"learning_rate": 0.01, "seed": 3}.

    Raises:
      ConfigError: if a line is not such an object, or there are no lines.
      StorageError: if it cannot be read.
    """
    found, problems = [], []
    for number, line in enumerate(read_url(url).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            args = json.loads(line)
        except ValueError as error:
            problems.append(f"line {number} is not JSON: {error}")
            continue
        if isinstance(args, dict):
            found.append((number, {bare(flag): args[flag] for flag in args}))
        else:
            problems.append(
                f"line {number} is not an object of flags and values, like "
                '{"learning_rate": 0.1}'
            )
    if not found and not problems:
        problems.append("it has no combinations")
    if problems:
        raise ConfigError(format_problems(f"--runs={url!r}", problems))
    return found


def run_name(chosen: Mapping[str, str]) -> str:
    """Returns a combination's name, like image-retraining-lr0.01-bs-50.

    It is safe as a file name. If characters must be replaced or cut off, digits of a
    digest are appended, so that different combinations have different names.
    """
    name = "-".join(
        ("image-retraining", *(SHORT.get(f, f"{f}-") + v for f, v in chosen.items()))
    )
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "_", name)
    if safe == name and len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: MAX_NAME - 9]}-{digest}"
