"""Trains combinations together, as many at a time as fit into memory.

    those of one backbone ─> of the same training images ─> of one schedule
                                                               │ by their batches
                                                               ▼
                                                    chunks of K heads, one compiled
                                                    computation each

A head is bit for bit the one that `poets retrain` trains with the same flags (see
`poets.head.steps`), so it does not depend on the other heads of its chunk.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from poets import __version__
from poets.data.distortions import Distortions
from poets.data.split import TRAIN, VALIDATION
from poets.features.features import Features
from poets.head.evaluate import Accuracy, accuracy_of
from poets.head.examples import Examples
from poets.head.many import (
    HeadPlan,
    Outcome,
    schedule_of,
    score,
    stream_of,
    train_many,
)
from poets.head.summaries import Summaries
from poets.retraining import store_intermediate
from poets.sweeps.plan import VARY, Combination
from poets.sweeps.results import Result

MAX_TOGETHER = 32
"""Heads in a chunk: with more, compiling is slower and training hardly faster."""

WEIGHTS_BYTES = 2**25
"""Size of the weights of a chunk; training takes about eight times as much."""


@dataclass(frozen=True)
class TrainedRun:
    """A combination with the outcome of its training, and its result."""

    run: Combination
    outcome: Outcome
    result: Result


def keys_of(runs: Sequence[Combination], features: Features) -> dict[str, str]:
    """Returns, for runs of one backbone, name -> digest of all inputs of the result."""
    in_digest = ("architecture", "tfhub_module")  # of the backbone
    common = {
        "backbone": features.backbone.digest,
        "data": _data_digest(features),
        "poets": __version__,
    }
    keys = {}
    for run in runs:
        chosen = {
            flag: getattr(run.config, flag) for flag in VARY if flag not in in_digest
        }
        text = json.dumps({"flags": chosen, **common}, sort_keys=True)
        keys[run.name] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def _data_digest(features: Features) -> str:
    """Returns the digest of the images, their contents and their splits."""
    digest = hashlib.sha256()
    for image, content, split in zip(
        features.dataset.images,
        features.extraction.digests.tolist(),
        features.splits,
        strict=True,
    ):
        digest.update(f"{image.path}\0{content.hex()}\0{split}\n".encode())
    return digest.hexdigest()


def chunks_of(
    runs: Sequence[Combination], features: Features
) -> list[list[Combination]]:
    """Returns runs of the same training images, in chunks that are trained together."""
    size = _chunk_size(features)
    chunks = []
    for scheduled in grouped(runs, lambda run: schedule_of(run.config)):
        together = sorted(scheduled, key=lambda run: stream_of(run.config))
        chunks += [together[i : i + size] for i in range(0, len(together), size)]
    return chunks


def copies_key(run: Combination) -> Hashable:
    """Returns the settings that runs with the same training images share."""
    config = run.config
    return (Distortions.of(config), config.augmentations) if config.distorts else ()


def grouped(
    runs: Sequence[Combination], key: Callable[[Combination], Hashable]
) -> list[list[Combination]]:
    """Returns the runs grouped by key, in the order of the first run of each group."""
    groups: dict[Hashable, list[Combination]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _chunk_size(features: Features) -> int:
    weights = features.every.bottlenecks.shape[1] * len(features.dataset.labels) * 4
    return max(1, min(MAX_TOGETHER, WEIGHTS_BYTES // weights))


def train_chunk(
    runs: Sequence[Combination], train: Examples, features: Features
) -> list[TrainedRun]:
    """Trains the heads of one chunk; writes their event files and intermediate graphs.

    Raises:
      StorageError: if files cannot be written.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as opened:
        plans = [
            _plan(
                run, features, opened.enter_context(Summaries(run.config.summaries_dir))
            )
            for run in runs
        ]
        validation, labels = features.of_split(VALIDATION), features.dataset.labels
        outcomes = train_many(train, validation, len(labels), plans)
    found = zip(runs, outcomes, strict=True)
    results = [_result(run, outcome, features) for run, outcome in found]
    seconds = round((time.monotonic() - started) / len(runs), 3)
    return [
        TrainedRun(run, outcome, replace(result, seconds=seconds))
        for run, outcome, result in zip(runs, outcomes, results, strict=True)
    ]


def _plan(run: Combination, features: Features, summaries: Summaries) -> HeadPlan:
    return HeadPlan(
        run.config,
        lambda evaluation: evaluation.record(summaries),
        lambda step, head: store_intermediate(
            run.config, features.backbone, step, head
        ),
    )


def _result(run: Combination, outcome: Outcome, features: Features) -> Result:
    """Returns the result of a head; does not use images of the test split."""
    result = Result(
        run.name, flags=run.chosen, steps=outcome.steps, failure=outcome.failure
    )
    if outcome.head is None:
        return result
    predicted, _ = outcome.head.answers(features.every.bottlenecks)

    def accuracy(split: str) -> Accuracy:
        rows = features.splits == split
        return accuracy_of(predicted[rows], features.every.label_indices[rows])

    _, entropy = score(outcome.head, features.of_split(VALIDATION))
    return replace(
        result,
        validation=accuracy(VALIDATION),
        train=accuracy(TRAIN),
        cross_entropy=entropy,
    )
