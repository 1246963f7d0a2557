"""The Python interface: retrain, sweep, load and predict from other programs.

    run = poets.retrain("flower_photos", output_dir="run", learning_rate=0.1)
    print(run.accuracy, run.labels, run.confusion)

    classifier = poets.load(run)              # or a model, or a folder, by its URL
    for prediction in classifier.predict(["new.jpg"]):
        print(prediction.label, prediction.score)

The flags of `poets retrain` are keyword arguments, with the same error messages. Only
warnings are printed unless the program sets up logging. Notebooks and terminals show a
progress bar; notebooks also show results as tables, and predictions with pictures.
"""

import base64
import contextlib
import csv
import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poets import job
from poets.classifier import Classifier, load_classifier
from poets.classifier.many import classify_files
from poets.classifier.sources import source_of
from poets.cli.sweep import job_of
from poets.cluster import ALONE
from poets.data.image_files import ImageError
from poets.data.images import thumbnail
from poets.errors import ConfigError, ModelError, StorageError
from poets.flags import config_from_args
from poets.report.listing import list_folder
from poets.report.summary import Results, format_results, read_results
from poets.storage import folder_of, join, read_url
from poets.sweeps.plan import plan_sweep
from poets.sweeps.report import ordered, sweep_text
from poets.system.quiet import unconfigured_logging

Image = str | os.PathLike[str] | bytes
"""A picture: its path or URL, or the content of its file."""

MAX_SHOWN = 50  # pictures in a notebook; each takes some 5 kB
SIDE_PX = 128


class _Shown:
    """Results that notebooks show as `print` does."""

    url: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre">{html.escape(str(self))}</pre>'


@dataclass(frozen=True, repr=False)
class Run(_Shown):
    """A results folder; printed, it is what `poets results` shows of it.

    Attributes:
      url: the folder's URL.
      model: URL of the retrained graph, or of the folder if the graph is unknown.
      results: the content of the folder's files.
    """

    url: str
    model: str
    results: Results

    def __str__(self) -> str:
        return format_results(self.results)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the model's scores."""
        return tuple(self.results.labels)

    @property
    def accuracy(self) -> float:
        """The share of test images classified correctly, 0 to 1."""
        return float(self._metrics("accuracy")["test"]["accuracy"])

    @property
    def confusion(self) -> np.ndarray:
        """int64 [L, L]: test images by their true label and the predicted one."""
        return np.array(self._metrics("confusion"), np.int64)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The content of `metrics.json`, empty for a run of the original script."""
        return self.results.metrics

    @property
    def images(self) -> list[dict[str, str]]:
        """The rows of `split.csv`: path, label, split, predicted_label, score.

        Paths are relative to `image_dir`; labels are spelled as their folders.

        Raises:
          StorageError: if it cannot be read; the original script does not write it.
        """
        text = read_url(join(self.url, "split.csv")).decode("utf-8", "surrogateescape")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def _metrics(self, name: str) -> Any:
        if name not in self.metrics:
            raise ModelError(
                f"{self.url!r} has no metrics.json with {name!r}: the original "
                "retrain.py does not write one"
            )
        return self.metrics[name]


@dataclass(frozen=True)
class Prediction:
    """The scores of one image.

    Attributes:
      image: as passed to `predict`.
      scores: label -> score of 0 to 1, the best first; empty for unreadable images.
      failure: why the image cannot be classified, else "".
    """

    image: Image
    scores: Mapping[str, float]
    failure: str = ""

    @property
    def label(self) -> str:
        """The label with the best score; "" if there are no scores."""
        return next(iter(self.scores), "")

    @property
    def score(self) -> float:
        """The best score; 0 if there are no scores."""
        return next(iter(self.scores.values()), 0.0)


class Predictions(list[Prediction]):
    """Predictions in order. Notebooks show the first with their pictures."""

    def _repr_html_(self) -> str:
        return "".join(map(_figure, self[:MAX_SHOWN]))


class LoadedClassifier:
    """A trained classifier in memory.

    Attributes:
      labels: in the order of the model's scores.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.labels = classifier.labels

    def predict(self, images: Sequence[Image]) -> Predictions:
        """Returns the scores of each image, in the order of `images`.

        For many files it starts one process per core.

        Raises:
          StorageError: if a storage does not answer.
        """
        if isinstance(images, str | bytes):
            raise ConfigError("predict takes a list of images; give [image]")
        names = [os.fspath(each) for each in images if not isinstance(each, bytes)]
        found = iter(classify_files(self._classifier, list(map(source_of, names))))
        contents = [each for each in images if isinstance(each, bytes)]
        in_memory = iter(self._classifier.predict(contents))
        return Predictions(
            self._prediction(
                each, next(in_memory if isinstance(each, bytes) else found)
            )
            for each in images
        )

    def _prediction(self, image: Image, answer: np.ndarray | ImageError) -> Prediction:
        if isinstance(answer, ImageError):
            return Prediction(image, {}, str(answer))
        best_first = np.argsort(-answer, kind="stable").tolist()
        return Prediction(image, {self.labels[i]: float(answer[i]) for i in best_first})


@dataclass(frozen=True, repr=False)
class SweepResult(_Shown):
    """The results of a sweep; printed, they are the table of `poets sweep`.

    Attributes:
      url: the sweep's folder.
      table: one row per combination, the best first, as in `sweep.json`.
      best: the published run.
      text: the table as text.
    """

    url: str
    table: Sequence[Mapping[str, Any]]
    best: Run
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def chart(self) -> bytes:
        """The content of `sweep.png`.

        Raises:
          StorageError: if it cannot be read; it is drawn with the extra `plot`.
        """
        return read_url(join(self.url, "sweep.png"))


def retrain(
    image_dir: str | os.PathLike[str], *, spark: Any = None, **flags: Any
) -> Run:
    """Retrains a classifier on a folder of labelled images.

    Args:
      image_dir: the folder, on any storage.
      spark: a `SparkSession`, whose executors compute the bottlenecks; None for this
        machine. The folder and `bottleneck_dir` must be on a storage that they reach.
      **flags: the flags of `poets retrain`; `output_dir` is enough.

    Raises:
      ConfigError: lists every wrong flag.
      PoetsError: if the job fails; earlier results stay unchanged.
    """
    config = config_from_args(_plain({"image_dir": image_dir, **flags}))
    with unconfigured_logging():
        job.run(config, spark)
    return results(folder_of(config.output_graph), model=config.output_graph)


def sweep(
    image_dir: str | os.PathLike[str],
    grid: Mapping[str, Sequence[Any]],
    *,
    spark: Any = None,
    **flags: Any,
) -> SweepResult:
    """Trains a head for each combination of flags and publishes the best.

    Args:
      image_dir: the folder, on any storage.
      grid: flag -> its values.
      spark: as of `retrain`.
      **flags: the flags of `poets sweep`; `output_dir` is required.

    Raises:
      ConfigError: lists every wrong flag.
      PoetsError: if the sweep fails; finished combinations are kept.
    """
    axes = [f"{flag}={','.join(map(str, values))}" for flag, values in grid.items()]
    planned = plan_sweep(_plain({"image_dir": image_dir, **flags}), axes)
    with unconfigured_logging():
        found = job.run_job(ALONE, job_of(planned), spark) or {}
    table = [found[run.name].to_json() for run in ordered(planned, found)]
    graph = planned.base.output_graph
    best = results(folder_of(graph), model=graph)
    return SweepResult(planned.output_dir, table, best, sweep_text(planned, found))


def results(url: str | os.PathLike[str], model: str = "") -> Run:
    """Reads the results of a run.

    Args:
      url: the folder of `--output_graph`, on any storage.
      model: URL of the graph, for folders with several.

    Raises:
      StorageError: if the folder cannot be listed or a file cannot be read.
      ModelError: if metrics.json does not have the fields that a run writes.
    """
    url = os.fspath(url)
    return Run(url, model or url, read_results(list_folder(url)))


def load(
    model: Run | str | os.PathLike[str], labels: str | None = None
) -> LoadedClassifier:
    """Loads a trained classifier.

    Args:
      model: a run, a results folder, or a model in any format, by its URL.
      labels: URL of the labels file; None searches for it.

    Raises:
      ModelError: if there is no such model, or the labels do not match it.
    """
    url = model.model if isinstance(model, Run) else os.fspath(model)
    return LoadedClassifier(load_classifier(url, labels))


def _figure(prediction: Prediction) -> str:
    """Returns HTML of a picture, if it can be read, with its label and score."""
    image = prediction.image
    answer = f"{prediction.label} {prediction.score:.1%}"
    shown = ""
    with contextlib.suppress(StorageError, ImageError):
        data = image if isinstance(image, bytes) else read_url(os.fspath(image))
        jpeg = base64.b64encode(thumbnail(data, SIDE_PX)[0]).decode()
        shown = f'<img alt="" src="data:image/jpeg;base64,{jpeg}"><br>'
    return (
        '<figure style="display: inline-block; margin: 4px; text-align: center">'
        f"{shown}{html.escape(prediction.failure or answer)}</figure>"
    )


def _plain(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags with path objects replaced by strings."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in flags.items()
    }
