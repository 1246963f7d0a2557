"""`poets label`: what a trained classifier says of images."""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from poets.classifier import Classifier, load_classifier
from poets.classifier.fetch import fetch_image
from poets.classifier.many import classify_files
from poets.dataset import IMAGE_SUFFIXES
from poets.errors import ConfigError
from poets.images import ImageError
from poets.storage import scheme_of


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "label",
        help="classify images with a retrained model",
        description="Classifies images and prints the best labels with their scores.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="file, folder, http(s) URL"
    )
    parser.add_argument(
        "--model", required=True, help="retrained graph (.pb) or SavedModel folder"
    )
    parser.add_argument("--labels", help="labels file (default: beside the graph)")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="labels per image (default: 5)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="image,label,score")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    if args.top < 1:
        raise ConfigError(f"--top={args.top}: must be at least 1")
    names = list(_expand(args.images))
    classifier = load_classifier(args.model, args.labels)
    with tempfile.TemporaryDirectory(prefix="poets-fetched-") as folder:
        answers: list[np.ndarray | ImageError] = []
        paths: list[str | ImageError] = [
            _local_path(name, os.path.join(folder, str(number)))
            for number, name in enumerate(names)
        ]
        found = iter(
            classify_files(
                classifier, [path for path in paths if isinstance(path, str)]
            )
        )
        answers = [next(found) if isinstance(path, str) else path for path in paths]
    _print(args, classifier, names, answers)
    return 1 if any(isinstance(answer, ImageError) for answer in answers) else 0


def _expand(images: Sequence[str]) -> Iterator[str]:
    missing = []
    for image in images:
        if scheme_of(image) in ("http", "https") or os.path.isfile(image):
            yield image
        elif os.path.isdir(image):
            count = 0
            for folder, folders, names in os.walk(image):
                folders.sort()
                for name in sorted(names):
                    if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != ".":
                        count += 1
                        yield os.path.join(folder, name)
            if not count:
                missing.append(f"no image below the folder {image!r}")
        else:
            missing.append(f"no file, folder or http(s) URL {image!r}")
    if missing:
        raise ConfigError("; ".join(missing))


def _local_path(name: str, target: str) -> str | ImageError:
    if scheme_of(name) not in ("http", "https"):
        return name
    try:
        fetch_image(name, target)
    except ImageError as error:
        return error
    return target


def _print(
    args: argparse.Namespace,
    classifier: Classifier,
    names: Sequence[str],
    answers: Sequence[np.ndarray | ImageError],
) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    if args.csv:
        table.writerow(("image", "label", "score"))
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, ImageError):
            print(f"poets label: {name}: {answer}", file=sys.stderr)
            if args.json:
                _print_json({"image": name, "error": str(answer)})
            continue
        best = [
            (classifier.labels[index], float(answer[index]))
            for index in np.argsort(-answer, kind="stable")[: args.top]
        ]
        if args.json:
            scores = [{"label": label, "score": score} for label, score in best]
            _print_json({"image": name, "labels": scores})
        elif args.csv:
            table.writerows((name, label, f"{score:.5f}") for label, score in best)
        else:
            if len(names) > 1:
                print(name)
            for label, score in best:
                print(f"{label} (score = {score:.5f})")
            if len(names) > 1:
                print()


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False))
