"""Made-up runs, for the tests of the report."""

import csv
import dataclasses
import importlib
import io
import json
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import numpy as np
import simplejpeg

from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.image_columns import Image, Images
from poets.data.layout import clean_label
from poets.head.evaluate import accuracy_of, confusion_of, per_label
from poets.report.findings import SECTIONS, Findings

SPLITS = ("train", "validation", "test")


def write_picture(path, side_px=40, seed=0):
    """Writes a JPEG of noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (side_px, side_px, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(simplejpeg.encode_jpeg(pixels, 90))


def made_up_run(results, image_dir, counts, answer=None, **flags):
    """Writes metrics.json and the CSVs of a run, and returns the metrics.

    Args:
      results: their folder.
      image_dir: where the pictures would be; none is written.
      counts: folder of a label -> its images in (train, validation, test).
      answer: returns the index of the answer for a label's index and an image's number;
        default: the right one.
    """
    answer = answer or (lambda label, number: label)
    folders = list(counts)
    labels = [clean_label(folder) for folder in folders]
    rows, true, predicted, splits = [], [], [], []
    for index, (folder, of_splits) in enumerate(counts.items()):
        numbers = iter(range(10**6))
        for split, count in zip(SPLITS, of_splits, strict=True):
            for _, number in zip(range(count), numbers, strict=False):
                found = answer(index, number)
                score = f"{0.99 - 0.5 * number / 10**4:.5f}"
                path = f"{folder}/{number}.jpg"
                rows.append((path, folder, split, labels[found], score))
                true.append(index)
                predicted.append(found)
                splits.append(split)
    true, predicted, splits = map(np.array, (true, predicted, splits))
    tested = splits == "test"
    confusion = confusion_of(predicted[tested], true[tested], len(labels))
    config = RetrainConfig(
        image_dir=str(image_dir),
        output_graph=str(results / "retrained_graph.pb"),
        bottleneck_dir=str(results / "bottlenecks"),
        **flags,
    )
    metrics = {
        "poets": "1.0.0",
        "finished": "2026-11-29T12:13:14+00:00",
        "seed": 0,
        "training_steps": 60,
        "model": {
            "backbone": "mobilenet_0.50_224",
            "backbone_digest": "ab" * 32,
            "image_size_px": 224,
            "input_name": "input",
            "input_mean": [127.5],
            "input_std": [127.5],
            "bottleneck_size": 1001,
            "final_tensor_name": "final_result",
        },
        "labels": [
            {
                "label": label,
                "folder": folder,
                "images": sum(counts[folder]),
                **dict(zip(SPLITS, counts[folder], strict=True)),
            }
            for label, folder in zip(labels, folders, strict=True)
        ],
        "images": {"found": len(rows), "used": len(rows), "skipped": 0},
        "split": {"by": "hash", "folders": {}, "also_in_train": {}},
        "accuracy": {
            split: accuracy_of(
                predicted[splits == split], true[splits == split]
            ).to_json()
            for split in SPLITS
        },
        "per_label": per_label(tuple(labels), confusion),
        "confusion": confusion.tolist(),
        "exports": {},
        "flags": dataclasses.asdict(config),
        "versions": {"python": "3.11.7", "tensorflow": None},
        "duration_s": {"total": 5.0, "training": 1.0},
        "notes": [],
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "metrics.json").write_text(json.dumps(metrics))
    header = ("path", "label", "split", "predicted_label", "score")
    _write_csv(results / "split.csv", [header, *rows])
    _write_csv(results / "skipped_images.csv", [("path", "reason")])
    return metrics


def _write_csv(path, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_bytes(text.getvalue().encode())


def with_every_section(findings, label, path):
    """Returns findings with the sections that need features, made up for one image."""
    sections = dict(findings.sections)
    for name, row in SECTIONS.items():
        if row.needs_features:
            compute = importlib.import_module(f"poets.report.findings.{name}").compute
            sections[name] = _made_up(get_type_hints(compute)["return"], label, path)
    return Findings(sections, findings.failed)


def _made_up(kind, label, path, name=""):
    """Returns a value of a type: texts are the label, numbers 3 and 0.5."""
    inner = get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(
            **{each: _made_up(hints[each], label, path, each) for each in names}
        )
    if get_origin(kind) in (Union, UnionType):  # with None
        return _made_up(inner[0], label, path, name)
    if get_origin(kind) is tuple:
        kinds = 2 * inner[:1] if inner[-1] is Ellipsis else inner
        return tuple(_made_up(each, label, path) for each in kinds)
    if get_origin(kind) is dict:
        return {"test": _made_up(inner[1], label, path)}
    if kind is str:
        return {"path": path, "split": "train"}.get(name, label)
    return {bool: True, int: 3, float: 0.5}[kind]


def dataset_of(image_dir, paths):
    """Returns a data set of files."""
    images = Images.of(Image(path, path.partition("/")[0], 0, 0) for path in paths)
    return Dataset(str(image_dir), ("a",), ("a",), images)
