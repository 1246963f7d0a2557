"""Reads the evidence for a report from the folder of a finished run.

    metrics.json, split.csv, skipped_images.csv ──> flags, answers, skipped files
    image_dir, bottleneck_dir, the graph ─────────> bottlenecks and head, if all of them
                                                    are still there

No network runs. Bottlenecks and head are used only if together they give the answers of
split.csv: after fine-tuning, or with other pictures, they do not.
"""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from poets.config import RetrainConfig
from poets.data.dataset import Dataset, find_images
from poets.data.image_columns import Image, Images
from poets.data.split import Splits
from poets.errors import ModelError, PoetsError
from poets.features.index import NONE
from poets.features.store import Store, store_url
from poets.flags import FIELDS, parse_value
from poets.head import Head
from poets.head.examples import Examples
from poets.report import METRICS, SKIPPED, SPLIT
from poets.report.findings import Evidence, TrainedHead
from poets.report.metrics import Predictions
from poets.report.run_files import csv_rows
from poets.storage import join, read_url

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference to a score of split.csv, which has five digits."""


def read_evidence(results: str, image_dir: str = "") -> Evidence:
    """Returns what a finished run left.

    Args:
      results: the folder of its `metrics.json`.
      image_dir: where the images are now; "" for where they were.

    Raises:
      ModelError: if the folder has no complete results of poets.
      StorageError: if a file cannot be read.
    """
    try:
        metrics = json.loads(read_url(join(results, METRICS)))
        config = _config(metrics["flags"], image_dir)
        answers = _answers(config, metrics, _table(results, SPLIT))
        skipped = [(row["path"], row["reason"]) for row in _table(results, SKIPPED)]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ModelError(
            f"cannot report on {results!r}: its files are not the results of a run of "
            f"poets ({error!r:.200}); give the folder of --output_graph, or run "
            "retrain again"
        ) from error
    answers, trained = _with_features(config, metrics, answers)
    return Evidence(config, metrics, answers, skipped, trained)


def _config(flags: Mapping[str, Any], image_dir: str) -> RetrainConfig:
    """Returns the flags of the run; those of other versions are left out."""
    known: dict[str, Any] = {
        name: parse_value(FIELDS[name], value)
        for name, value in flags.items()
        if name in FIELDS
    }
    if image_dir:
        known["image_dir"] = image_dir
    return RetrainConfig(**known)


def _table(results: str, name: str) -> list[dict[str, str]]:
    return list(csv_rows(read_url(join(results, name)), strict=True))


def _answers(
    config: RetrainConfig, metrics: Mapping[str, Any], rows: list[dict[str, str]]
) -> Predictions:
    folders = [row["folder"] for row in metrics["labels"]]
    labels = [row["label"] for row in metrics["labels"]]
    dataset = Dataset(
        image_dir=config.image_dir,
        folders=tuple(folders),
        labels=tuple(labels),
        images=Images.of(Image(row["path"], row["label"], 0, 0) for row in rows),
        splits=metrics["split"]["folders"],
    )
    index_of = {name: index for index, name in enumerate(folders)}
    answer_of = {name: index for index, name in enumerate(labels)}
    return Predictions(
        dataset,
        Splits.of(row["split"] for row in rows),
        np.array([index_of[row["label"]] for row in rows], np.int32),
        np.array([answer_of[row["predicted_label"]] for row in rows], np.int64),
        np.array([float(row["score"]) for row in rows], np.float32),
    )


def _with_features(
    config: RetrainConfig, metrics: Mapping[str, Any], answers: Predictions
) -> tuple[Predictions, TrainedHead | None]:
    """Returns the answers with the images as listed now, and the head if it is there.

    What is missing is logged, not raised: the report then has fewer sections.
    """
    try:
        listed = find_images(
            config.image_dir, config.split, config.bottleneck_dir, config.labels_csv
        )
        rows = listed.images.rows_of(answers.dataset.images.paths.to_pylist())
        if len(rows) < len(answers.dataset.images):
            raise ModelError(f"pictures of {config.image_dir!r} are missing")
        dataset = replace(
            answers.dataset,
            images=listed.images.take(rows),
            packs=listed.packs,
            label_folders=listed.label_folders,
        )
        answers = replace(answers, dataset=dataset)
        return answers, _trained(config, metrics, answers)
    except (PoetsError, OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the report has only what needs no bottlenecks: %s", error)
        return answers, None


def _trained(
    config: RetrainConfig, metrics: Mapping[str, Any], answers: Predictions
) -> TrainedHead:
    """Returns head and bottlenecks; raises if they are missing or answer otherwise."""
    model = metrics["model"]
    url = store_url(config.bottleneck_dir, model["backbone"], model["backbone_digest"])
    store = Store(url, model["bottleneck_size"])
    index = store.read_index()
    rows = index.fresh(answers.dataset.images, "")
    if (rows == NONE).any():
        raise ModelError(f"bottlenecks in {url!r} are missing or outdated")
    matrix = store.read_bottlenecks(index, rows)
    head = _head(config.output_graph)
    predicted, scores = head.answers(matrix)
    if (
        np.abs(scores - answers.scores).max() > TOLERANCE
        or (predicted != answers.predicted).mean() > TOLERANCE
    ):
        raise ModelError("its bottlenecks do not give its answers")
    return TrainedHead(
        head,
        (metrics.get("calibration") or {}).get("temperature", 1.0),
        Examples(matrix, answers.label_indices),
        index.digests[rows],
    )


def _head(graph_url: str) -> Head:
    """Returns the last layer of a retrained graph."""
    # TensorFlow takes seconds to import, which a folder without features does not need
    from poets.backbones.graph import parse_graph
    from poets.system.runtime import tf

    found = {
        node.name.rpartition("/")[2]: tf.make_ndarray(node.attr["value"].tensor)
        for node in parse_graph(read_url(graph_url), graph_url).node
        if node.op == "Const"
        and node.name.endswith(("/final_weights", "/final_biases"))
    }
    if len(found) != 2:
        raise ModelError(f"no last layer in {graph_url!r}")
    return Head(found["final_weights"], found["final_biases"])
