"""Poets for notebooks and other programs.

    run = poets.retrain("flower_photos", output_dir="run", learning_rate=0.1)
    print(run.accuracy, run.labels, run.confusion)

    classifier = poets.load(run)              # or a model, or a folder, by its URL
    for prediction in classifier.predict(["new.jpg"]):
        print(prediction.label, prediction.score)

Flags are keyword arguments, those of `poets retrain`, and mistakes are reported in the
same words. Nothing is logged unless the program sets up logging; a notebook and a
terminal show a bar.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poets import job
from poets.classifier import Classifier, load_classifier
from poets.classifier.many import classify_files
from poets.cli.sweep import job_of
from poets.cluster import ALONE
from poets.data.images import ImageError
from poets.errors import ConfigError, ModelError
from poets.flags import config_from_args
from poets.report.listing import list_folder
from poets.report.summary import Results, read_results
from poets.storage import folder_of
from poets.sweeps.plan import plan_sweep
from poets.sweeps.report import ordered

Image = str | os.PathLike[str] | bytes
"""A picture: its path or URL, or the content of its file."""


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
      url: of the folder.
      model: URL of the retrained graph; that of the folder where the run did not say.
      results: what the folder says of its run.
    """

    url: str
    model: str
    results: Results

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the model's scores."""
        return tuple(self.results.labels)

    @property
    def accuracy(self) -> float:
        """The share of the test images that got their label, 0 to 1."""
        return float(self._metrics("accuracy")["test"]["accuracy"])

    @property
    def confusion(self) -> np.ndarray:
        """int64 [L, L]: test images by their true label and the predicted one."""
        return np.array(self._metrics("confusion"), np.int64)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The content of `metrics.json`, empty for a run of the original script."""
        return self.results.metrics

    def _metrics(self, name: str) -> Any:
        if name not in self.metrics:
            raise ModelError(
                f"{self.url!r} has no metrics.json with {name!r}: a run of the "
                "original retrain.py does not leave one"
            )
        return self.metrics[name]


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
      image: as it was given.
      scores: label -> score of 0 to 1, the best first; empty if it cannot be read.
      failure: why it cannot be classified, else "".
    """

    image: Image
    scores: Mapping[str, float]
    failure: str = ""

    @property
    def label(self) -> str:
        """The label of the best score; "" if it cannot be classified."""
        return next(iter(self.scores), "")

    @property
    def score(self) -> float:
        """The best score; 0 if it cannot be classified."""
        return next(iter(self.scores.values()), 0.0)


class LoadedClassifier:
    """A trained classifier in memory.

    Attributes:
      labels: in the order of the model's scores.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.labels = classifier.labels

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Returns what the classifier says of each image.

        Many files are read and computed by one process a core.

        Raises:
          StorageError: if a storage does not answer.
        """
        if isinstance(images, str | bytes):
            raise ConfigError("predict takes a list of images; give [image]")
        files = [os.fspath(each) for each in images if not isinstance(each, bytes)]
        found = iter(classify_files(self._classifier, files))
        contents = [each for each in images if isinstance(each, bytes)]
        also = iter(self._classifier.predict(contents))
        return [
            self._prediction(each, next(also if isinstance(each, bytes) else found))
            for each in images
        ]

    def _prediction(self, image: Image, answer: np.ndarray | ImageError) -> Prediction:
        if isinstance(answer, ImageError):
            return Prediction(image, {}, str(answer))
        best_first = np.argsort(-answer, kind="stable").tolist()
        return Prediction(image, {self.labels[i]: float(answer[i]) for i in best_first})


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
      url: of its folder.
      table: a row a combination, the best first, as in `sweep.json`.
      best: the published one.
    """

    url: str
    table: Sequence[Mapping[str, Any]]
    best: Run


def retrain(image_dir: str | os.PathLike[str], **flags: Any) -> Run:
    """Retrains a classifier on a folder of labelled images.

    Args:
      image_dir: the folder, on any storage.
      **flags: as of `poets retrain`; `output_dir` is enough.

    Raises:
      ConfigError: names every wrong flag.
      PoetsError: if it cannot be done; earlier results are unchanged then.
    """
    config = config_from_args(_plain({"image_dir": image_dir, **flags}))
    job.run(config)
    return results(folder_of(config.output_graph), model=config.output_graph)


def sweep(
    image_dir: str | os.PathLike[str],
    grid: Mapping[str, Sequence[Any]],
    **flags: Any,
) -> SweepResult:
    """Trains a head for each combination of flags and publishes the best.

    Args:
      image_dir: the folder, on any storage.
      grid: flag -> its values.
      **flags: as of `poets sweep`; `output_dir` is required.

    Raises:
      ConfigError: names every mistake.
      PoetsError: if it cannot be done; what is finished is kept.
    """
    axes = [f"{flag}={','.join(map(str, values))}" for flag, values in grid.items()]
    planned = plan_sweep(_plain({"image_dir": image_dir, **flags}), axes)
    found = job.run_job(ALONE, job_of(planned)) or {}
    table = [found[run.name].to_json() for run in ordered(planned, found)]
    graph = planned.base.output_graph
    best = results(folder_of(graph), model=graph)
    return SweepResult(planned.output_dir, table, best)


def results(url: str | os.PathLike[str], model: str = "") -> Run:
    """Returns what a results folder says of its run.

    Args:
      url: the folder of `--output_graph`, on any storage.
      model: URL of the graph, where the folder has several.

    Raises:
      StorageError: if the folder cannot be listed, or a file of it not be read.
      ModelError: if its metrics.json is not what a run writes.
    """
    url = os.fspath(url)
    return Run(url, model or url, read_results(list_folder(url)))


def load(
    model: Run | str | os.PathLike[str], labels: str | None = None
) -> LoadedClassifier:
    """Returns a classifier, ready to predict.

    Args:
      model: a run, a results folder, or a graph, a `.tflite` or a SavedModel folder.
      labels: URL of the labels file, where it is not found by itself.

    Raises:
      ModelError: if there is no such model, or the labels do not fit it.
    """
    url = model.model if isinstance(model, Run) else os.fspath(model)
    return LoadedClassifier(load_classifier(url, labels))


def _plain(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns flags with paths as text."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in flags.items()
    }
