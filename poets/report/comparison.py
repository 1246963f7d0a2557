"""Compares runs on the same test images: which differences are more than chance.

RUN/metrics.json, split.csv ─┐
RUN/metrics.json, split.csv ─┴─> common test images ─> each pair: McNemar's test
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from poets.errors import ConfigError, ModelError
from poets.head.evaluate import Z_95, Accuracy
from poets.report import METRICS, SPLIT
from poets.report.listing import list_folder
from poets.report.run_files import csv_rows
from poets.report.summary import read_results
from poets.storage import join, read_url

LEVEL = 0.05
"""The chance of calling any difference real by mistake, over all pairs together."""

PLACES = ("_dir", "_graph", "_labels", "_path", "_conf", "_keytab", "_principal")
ELSEWHERE = {"processes", "chief_timeout_s", "logging_verbosity", "report"}
"""Flags, and endings of flags, that leave the classifier as it is."""

Flags = Mapping[str, Any]
Right = Mapping[tuple[str, str], bool]
"""The test images of a run: (path, label's folder) -> whether its answer is right."""


@dataclass(frozen=True)
class ComparedRun:
    """A run on the common test images.

    Attributes:
      url: its results folder.
      tested: number of all its test images.
      correct, accuracy: on the common ones.
      interval_95: Wilson's interval.
      flags: value of each flag that differs between the runs.
    """

    url: str
    tested: int
    correct: int
    accuracy: float
    interval_95: tuple[float, float]
    flags: Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two runs, compared image by image.

    Attributes:
      first, second: their places in the list of runs.
      only_first, only_second: images that only this one classifies correctly.
      difference: accuracy of the second minus that of the first.
      interval_95: of the difference (Bonett and Price, 2012).
      p: chance of so large a difference between equally good runs: McNemar's exact
        test, corrected for the number of pairs (Holm, 1979).
      is_real: whether p is below `LEVEL`.
    """

    first: int
    second: int
    only_first: int
    only_second: int
    difference: float
    interval_95: tuple[float, float]
    p: float
    is_real: bool


@dataclass(frozen=True)
class Comparison:
    """Runs, and each pair of them, on their common test images."""

    images: int
    runs: tuple[ComparedRun, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    def verdict(self, pair: Pair) -> str:
        """Returns what a pair shows, in words."""
        if not pair.is_real:
            return "no difference is shown"
        better = pair.second if pair.difference > 0 else pair.first
        return f"{better + 1} is better"


def compare_runs(urls: Sequence[str]) -> Comparison:
    """Compares two or more results folders on the test images that all of them have.

    Raises:
      ConfigError: if there is only one, or they have no test image in common.
      ModelError: if a folder is not that of a run, or a file is damaged.
      StorageError: if a file cannot be read.
    """
    if len(urls) < 2:
        raise ConfigError(f"cannot compare one run, {urls[0]!r}; give two or more")
    flags, tested = zip(*map(_read, urls), strict=True)
    common = sorted(set.intersection(*map(set, tested)))
    if not common:
        raise ConfigError(
            f"the runs have no test image in common, of {_counts(tested)}: paths and "
            "labels must be equal; compare runs on the same --image_dir and "
            "--split_seed"
        )
    right = np.array([[each[key] for key in common] for each in tested])
    runs = []
    for url, each, row, chosen in zip(
        urls, tested, right, _differing(flags), strict=True
    ):
        found = Accuracy(len(common), int(row.sum()))
        figures = found.correct, found.share, found.interval_95
        runs.append(ComparedRun(url, len(each), *figures, chosen))
    places = list(combinations(range(len(urls)), 2))
    only = [
        (int((right[i] & ~right[j]).sum()), int((right[j] & ~right[i]).sum()))
        for i, j in places
    ]
    pairs = [
        _pair(place, counts, len(common), p)
        for place, counts, p in zip(places, only, _holm(only), strict=True)
    ]
    notes = _notes(flags, tested, len(common))
    return Comparison(len(common), tuple(runs), tuple(pairs), tuple(notes))


def _read(url: str) -> tuple[Flags, Right]:
    """Returns the flags of a run, and which of its test images are right."""
    entries = list_folder(url)
    names = {entry.name for entry in entries}
    if missing := {METRICS, SPLIT} - names:
        raise ModelError(
            f"cannot compare {url!r}: it has no {' and no '.join(sorted(missing))}; "
            "give the results folder of a run of poets"
        )
    metrics = read_results(entries).metrics
    label_of = {
        row.get("folder", row.get("label")): row.get("label")
        for row in metrics.get("labels") or ()
    }
    try:
        right = {
            (row["path"], row["label"]): label_of.get(row["label"])
            == row["predicted_label"]
            for row in csv_rows(read_url(join(url, SPLIT)))
            if row["split"] == "test"
        }
    except (KeyError, csv.Error) as error:
        raise ModelError(
            f"cannot compare {url!r}: its {SPLIT} is damaged ({error!r}); run retrain "
            "again"
        ) from error
    return metrics.get("flags") or {}, right


def _differing(flags: Sequence[Flags]) -> list[dict[str, Any]]:
    """Returns the flags of each run that differ and may change the classifier."""
    names = [
        name
        for name in dict.fromkeys(name for each in flags for name in each)
        if name not in ELSEWHERE and not name.endswith(PLACES)
        if len({str(each[name]) for each in flags if name in each}) > 1
    ]
    return [{name: each.get(name) for name in names} for each in flags]


def _pair(places: tuple[int, int], only: tuple[int, int], n: int, p: float) -> Pair:
    only_one, only_other = only
    loss, gain = (only_one + 1) / (n + 2), (only_other + 1) / (n + 2)
    spread = Z_95 * math.sqrt((loss + gain - (gain - loss) ** 2) / (n + 2))
    return Pair(
        *places,
        only_one,
        only_other,
        (only_other - only_one) / n,
        (max(-1.0, gain - loss - spread), min(1.0, gain - loss + spread)),
        p,
        p < LEVEL,
    )


def _mcnemar(only_one: int, only_other: int) -> float:
    """Returns the p of McNemar's exact test: two-sided, binomial with p = 1/2."""
    n = only_one + only_other
    tail = sum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            - n * math.log(2)
        )
        for k in range(min(only_one, only_other) + 1)
    )
    return min(1.0, 2 * tail)


def _holm(only: Sequence[tuple[int, int]]) -> list[float]:
    """Returns McNemar's p of each pair, corrected for their number (Holm, 1979)."""
    values = np.array([_mcnemar(*counts) for counts in only])
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * factors)
    return np.minimum(corrected, 1.0).tolist()


def _notes(flags: Sequence[Flags], tested: Sequence[Right], common: int) -> list[str]:
    notes = []
    if any(len(each) > common for each in tested):
        notes.append(
            f"the runs have {_counts(tested)} test images; compared on the {common:,} "
            "that all of them have"
        )
    if len({each.get("image_dir") for each in flags}) > 1:
        notes.append(
            "the runs have different --image_dir: images with the same path and label "
            "were taken for the same"
        )
    return notes


def _counts(tested: Sequence[Right]) -> str:
    return ", ".join(f"{len(each):,}" for each in tested)
