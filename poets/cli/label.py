"""`poets label`: classifies images with a trained model."""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow.fs

from poets.classifier import Classifier, load_classifier
from poets.classifier.fetch import fetch_image
from poets.classifier.many import classify_files
from poets.data.image_listing import ImageFiles
from poets.data.images import ImageError
from poets.errors import ConfigError, StorageError
from poets.features.engines import Normalization
from poets.storage import join, open_storage, reason, scheme_of
from poets.storage.reading import IN_FLIGHT

WEB = ("http", "https")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "label",
        help="classify images with a retrained model",
        description="Classifies images and prints the best labels with their scores.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="file or folder on any storage, http(s) URL",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="retrained graph (.pb), .tflite or SavedModel folder, on any storage",
    )
    parser.add_argument(
        "--labels", help="labels file (default: inside or beside the model)"
    )
    for name, what in (("mean", "subtracted from"), ("std", "divisor of")):
        parser.add_argument(
            f"--input_{name}",
            metavar="X[,X,X]",
            help=f"{what} pixels of 0 to 255, for a .tflite of another program; one "
            "value, or one each for R, G and B (default: from its metadata)",
        )
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="labels per image (default: 5)"
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
    lengths: dict[str, int] = {}
    names = _expand(args.images, lengths)
    normalization = _normalization(args.input_mean, args.input_std)
    classifier = load_classifier(args.model, args.labels, normalization)
    with tempfile.TemporaryDirectory(prefix="poets-fetched-") as folder:
        files = _fetch(names, folder)
        readable = [file for file in files if isinstance(file, str)]
        found = iter(classify_files(classifier, readable, lengths=lengths))
        answers = [next(found) if isinstance(file, str) else file for file in files]
    _print(args, classifier, names, answers)
    return 1 if any(isinstance(answer, ImageError) for answer in answers) else 0


def _normalization(mean: str | None, std: str | None) -> Normalization | None:
    """Returns the normalization of the two flags; None without them."""
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


def _expand(images: Sequence[str], lengths: dict[str, int]) -> list[str]:
    """Returns the names of all images; adds the sizes of listed ones to `lengths`."""
    names, missing = [], []
    for image in images:
        scheme = scheme_of(image)
        if scheme in WEB or os.path.isfile(image):
            names.append(image)
            continue
        found = _in_storage(image)
        if found is None:
            missing.append(f"no file, folder or http(s) URL {image!r}")
        elif not found:
            missing.append(f"no image below the folder {image!r}")
        else:
            names += sorted(found)
            lengths.update(found)
    if missing:
        raise ConfigError("; ".join(missing))
    return names


def _in_storage(image: str) -> dict[str, int] | None:
    """Returns name -> bytes of the images at a path or URL, None if it does not exist.

    For a folder, these are the images that a job with this `image_dir` would find.
    """
    filesystem, path = open_storage(image)
    try:
        info = filesystem.get_file_info(path)
    except OSError as error:
        raise StorageError(f"cannot read {image!r}: {reason(error)}") from error
    if info.type == pyarrow.fs.FileType.NotFound:
        return None
    if info.type == pyarrow.fs.FileType.File:
        return {image: info.size or 0}
    files = ImageFiles(image)
    found = {
        join(image, entry.path): entry.length
        for entry in files
        if entry.kind is pyarrow.fs.FileType.File
    }
    files.report()
    return found


def _fetch(names: Sequence[str], folder: str) -> list[str | ImageError]:
    """Downloads http(s) images, many at once, and returns the files of all images."""

    def fetch(row: int) -> str | ImageError:
        target = os.path.join(folder, str(row))
        try:
            fetch_image(names[row], target)
        except ImageError as error:
            return error
        return target

    files: list[str | ImageError] = list(names)
    rows = [row for row, name in enumerate(names) if scheme_of(name) in WEB]
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        for row, file in zip(rows, threads.map(fetch, rows), strict=True):
            files[row] = file
    return files


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
