"""`poets label`: classifies images with a trained model."""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poets.errors import ConfigError
from poets.formats import known_formats

if TYPE_CHECKING:
    import numpy as np

    from poets.classifier import Classifier
    from poets.classifier.sources import Source
    from poets.data.image_files import ImageError
    from poets.features.engines import Normalization


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Classifies images and prints the best labels with their scores."
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="file or folder on any storage, http(s) URL",
    )
    parser.add_argument(
        "--model", required=True, help=f"{known_formats()}, on any storage"
    )
    parser.add_argument(
        "--labels", help="labels file (default: inside or beside the model)"
    )
    for name, what in (("mean", "subtracted from"), ("std", "divisor of")):
        parser.add_argument(
            f"--input_{name}",
            metavar="X[,X,X]",
            help=f"{what} pixels of 0 to 255, for a model of another program; one "
            "value, or one each for R, G and B (default: from its metadata)",
        )
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="labels per image (default: 5)"
    )
    reject = parser.add_mutually_exclusive_group()
    reject.add_argument(
        "--reject",
        action="store_true",
        help="answer (none) below the reject threshold of the model's run, at which "
        "the answers have its --wanted_accuracy",
    )
    reject.add_argument(
        "--reject_below",
        type=float,
        default=0.0,
        metavar="X",
        help="answer (none) below this score, 0 to 1",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON object per line"
    )
    form.add_argument("--csv", action="store_true", help="print image,label,score")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    if args.top < 1:
        raise ConfigError(f"--top={args.top}: must be at least 1")
    if not 0 <= args.reject_below <= 1:
        raise ConfigError(f"--reject_below={args.reject_below:g}: must be 0 to 1")
    from poets.classifier import load_classifier  # takes a second: not for --help
    from poets.classifier.many import classify_files
    from poets.classifier.sources import find_sources
    from poets.data.image_files import ImageError
    from poets.report.threshold import reject_threshold, run_metrics

    if args.reject:
        args.reject_below = reject_threshold(run_metrics(args.model), args.model)
    images = find_sources(args.images)
    normalization = _normalization(args.input_mean, args.input_std)
    classifier = load_classifier(args.model, args.labels, normalization)
    with tempfile.TemporaryDirectory(prefix="poets-fetched-") as folder:
        files = _fetch(images, folder)
        readable = [file for file in files if not isinstance(file, ImageError)]
        found = iter(classify_files(classifier, readable))
        answers = [
            file if isinstance(file, ImageError) else next(found) for file in files
        ]
    names = [image if isinstance(image, str) else image.name for image in images]
    _print(args, classifier, names, answers)
    return 1 if any(isinstance(answer, ImageError) for answer in answers) else 0


def _normalization(mean: str | None, std: str | None) -> "Normalization | None":
    """Returns the normalization of the two flags; None without them."""
    from poets.features.engines import Normalization

    if mean is None and std is None:
        return None
    try:
        values = [
            [float(x) for x in text.split(",")] for text in (mean or "", std or "")
        ]
        return Normalization(*values)
    except ValueError as error:
        raise ConfigError(
            f"--input_mean={mean} --input_std={std}: {error}; give both, each as one "
            "number or three with commas, such as 127.5 and 127.5 for -1 to 1"
        ) from error


def _fetch(
    images: "Sequence[str | Source]", folder: str
) -> "list[Source | ImageError]":
    """Downloads those that are http(s) URLs, and returns all of them as files."""
    from poets.classifier.fetch import fetch_images
    from poets.classifier.sources import source_of

    urls = [image for image in images if isinstance(image, str)]
    fetched = iter(fetch_images(urls, folder))
    files = [next(fetched) if isinstance(image, str) else image for image in images]
    return [source_of(file) if isinstance(file, str) else file for file in files]


def _print(
    args: argparse.Namespace,
    classifier: "Classifier",
    names: Sequence[str],
    answers: "Sequence[np.ndarray | ImageError]",
) -> None:
    from poets.classifier import best_labels
    from poets.data.image_files import ImageError

    table = csv.writer(sys.stdout, lineterminator="\n")
    if args.csv:
        table.writerow(("image", "label", "score"))
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, ImageError):
            print(f"poets label: {name}: {answer}", file=sys.stderr)
            if args.json:
                _print_json({"image": name, "error": str(answer)})
            continue
        best = best_labels(classifier.labels, answer, args.top, args.reject_below)
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
