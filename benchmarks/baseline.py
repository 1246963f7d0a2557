"""The baseline: retraining as the original does it, one image at a time.

    photo.jpg ──session──> decode, resize, scale ──session──> backbone
                                                                 │
       every step: 100 files read and parsed <── daisy/photo.jpg_<architecture>.txt
            │
            └──session──> one SGD step on raw bottlenecks; every 10 steps an
                          evaluation on 100 more files

It works like `retrain.py` of the DC/OS demo (same order of work, same defaults, same
files), rewritten for this benchmark on `tf.compat.v1`. It is neither slowed down nor
tuned. It prints one JSON object: durations in seconds, images per second, test
accuracy, peak memory.

    python -m benchmarks.baseline --image_dir flower_photos --graph frozen_graph.pb \\
        --image_size_px 128 --steps 500 --work build/baseline
"""

import time

STARTED_S = time.monotonic()  # before TensorFlow is imported, which takes seconds

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow.compat.v1 as v1  # noqa: E402

log = logging.getLogger(__name__)

INPUT, BOTTLENECK = "input:0", "MobilenetV1/Predictions/Reshape:0"
MEAN = STD = 127.5  # pixel / 127.5 - 1
LEARNING_RATE = 0.01
BATCH_SIZE = 100  # of training and of validation
EVAL_STEP_INTERVAL = 10
VALIDATION_PERCENTAGE = TESTING_PERCENTAGE = 10
MAX_IMAGES_PER_LABEL = 2**27 - 1
SPLITS = ("training", "validation", "testing")

# label -> split -> file names; labels are normalized, so folders are kept separately
Images = dict[str, dict[str, list[str]]]


class Head(NamedTuple):
    """The tensors of the last layer, its training and its evaluation."""

    bottlenecks: tf.Tensor
    label_indices: tf.Tensor
    train_step: tf.Operation
    cross_entropy: tf.Tensor
    accuracy: tf.Tensor
    summaries: tf.Tensor


def find_images(image_dir: Path) -> tuple[Images, dict[str, str]]:
    """Returns the images by label and split, and the folder of each label."""
    images: Images = {}
    folders: dict[str, str] = {}
    for folder in sorted(path for path in image_dir.iterdir() if path.is_dir()):
        files = [
            path
            for suffix in ("jpg", "jpeg", "JPG", "JPEG")
            for path in map(Path, v1.gfile.Glob(str(folder / f"*.{suffix}")))
        ]
        if not files:
            continue
        label = re.sub(r"[^a-z0-9]+", " ", folder.name.lower())
        folders[label] = folder.name
        images[label] = {split: [] for split in SPLITS}
        for path in files:
            images[label][split_of(path.relative_to(image_dir))].append(path.name)
    return images, folders


def split_of(path: Path) -> str:
    """Returns the split for a path, from its hash.

    The original hashes the whole path. Here it is the path below `image_dir`, so that
    the figures do not depend on the place of the photographs.
    """
    text = re.sub(r"_nohash_.*$", "", str(path))
    number = int(hashlib.sha1(text.encode()).hexdigest(), 16)
    percentage = number % (MAX_IMAGES_PER_LABEL + 1) * (100 / MAX_IMAGES_PER_LABEL)
    if percentage < VALIDATION_PERCENTAGE:
        return "validation"
    if percentage < VALIDATION_PERCENTAGE + TESTING_PERCENTAGE:
        return "testing"
    return "training"


class Bottlenecks:
    """Computes and reads the bottlenecks, in one text file per image.

    Args:
      session: the session with the backbone's graph.
      image_dir: the labelled folders.
      bottleneck_dir: the folder for `<folder>/<file>_<architecture>.txt`.
      folders: the folder of each label.
      image_size_px: side of the backbone's input.
    """

    def __init__(
        self,
        session: v1.Session,
        image_dir: Path,
        bottleneck_dir: Path,
        folders: dict[str, str],
        image_size_px: int,
    ) -> None:
        self._session, self._image_dir = session, image_dir
        self._bottleneck_dir, self._folders = bottleneck_dir, folders
        self._architecture = f"mobilenet_0.25_{image_size_px}"
        self._jpeg = v1.placeholder(tf.string, name="DecodeJPGInput")
        image = tf.cast(tf.image.decode_jpeg(self._jpeg, channels=3), tf.float32)
        size = tf.constant([image_size_px, image_size_px])
        resized = v1.image.resize_bilinear(tf.expand_dims(image, 0), size)
        self._scaled = tf.multiply(tf.subtract(resized, MEAN), 1 / STD)
        self.created = 0

    def create_all(self, images: Images) -> None:
        """Computes missing bottlenecks, label by label, image by image."""
        for label, splits in images.items():
            for split in ("training", "testing", "validation"):
                for name in splits[split]:
                    self.read(label, name)

    def read(self, label: str, name: str) -> list[float]:
        """Returns the bottleneck of one image from its text file."""
        folder = self._folders[label]
        path = self._bottleneck_dir / folder / f"{name}_{self._architecture}.txt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._create(self._image_dir / folder / name, path)
        return [float(text) for text in path.read_text().split(",")]

    def _create(self, image: Path, path: Path) -> None:
        log.info("Creating bottleneck at %s", path)
        with v1.gfile.GFile(str(image), "rb") as file:
            jpeg = file.read()
        scaled = self._session.run(self._scaled, {self._jpeg: jpeg})
        values = self._session.run(BOTTLENECK, {INPUT: scaled})
        path.write_text(",".join(str(value) for value in np.squeeze(values)))
        self.created += 1
        if self.created % 100 == 0:
            log.info("%d bottleneck files created.", self.created)

    def random_batch(
        self, images: Images, split: str
    ) -> tuple[list[list[float]], list[int]]:
        """Reads BATCH_SIZE files; chooses a random label, then one of its images."""
        labels, batch, label_indices = list(images), [], []
        for _ in range(BATCH_SIZE):
            label_index = random.randrange(len(labels))
            names = images[labels[label_index]][split]
            name = names[random.randrange(MAX_IMAGES_PER_LABEL + 1) % len(names)]
            batch.append(self.read(labels[label_index], name))
            label_indices.append(label_index)
        return batch, label_indices

    def all_of(self, images: Images, split: str) -> tuple[list[list[float]], list[int]]:
        """Reads all files of a split."""
        batch, label_indices = [], []
        for label_index, (label, splits) in enumerate(images.items()):
            for name in splits[split]:
                batch.append(self.read(label, name))
                label_indices.append(label_index)
        return batch, label_indices


def add_head(bottleneck: tf.Tensor, labels: int) -> Head:
    """Adds softmax regression on raw bottlenecks, with the original's summaries."""
    size = int(bottleneck.shape[1])
    bottlenecks = v1.placeholder_with_default(
        bottleneck, [None, size], name="BottleneckInputPlaceholder"
    )
    label_indices = v1.placeholder(tf.int64, [None], name="GroundTruthInput")
    with tf.name_scope("final_training_ops"):
        start = v1.truncated_normal([size, labels], stddev=0.001)
        weights = v1.Variable(start, name="final_weights", use_resource=False)
        biases = v1.Variable(
            tf.zeros([labels]), name="final_biases", use_resource=False
        )
        logits = tf.matmul(bottlenecks, weights) + biases
        for name, variable in (("weights", weights), ("biases", biases)):
            _summarise(name, variable)
        v1.summary.histogram("pre_activations", logits)
    scores = tf.nn.softmax(logits, name="final_result")
    v1.summary.histogram("activations", scores)
    cross_entropy = v1.losses.sparse_softmax_cross_entropy(label_indices, logits)
    v1.summary.scalar("cross_entropy", cross_entropy)
    optimizer = v1.train.GradientDescentOptimizer(LEARNING_RATE)
    correct = tf.equal(tf.argmax(scores, 1), label_indices)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
    v1.summary.scalar("accuracy", accuracy)
    return Head(
        bottlenecks,
        label_indices,
        optimizer.minimize(cross_entropy),
        cross_entropy,
        accuracy,
        v1.summary.merge_all(),
    )


def _summarise(name: str, variable: tf.Variable) -> None:
    mean = tf.reduce_mean(variable)
    v1.summary.scalar(f"{name}/mean", mean)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(variable - mean)))
    v1.summary.scalar(f"{name}/stddev", deviation)
    v1.summary.scalar(f"{name}/max", tf.reduce_max(variable))
    v1.summary.scalar(f"{name}/min", tf.reduce_min(variable))
    v1.summary.histogram(f"{name}/histogram", variable)


def train(
    session: v1.Session,
    head: Head,
    bottlenecks: Bottlenecks,
    images: Images,
    steps: int,
    summaries_dir: Path,
) -> float:
    """Trains the head and returns its accuracy on the whole test split."""
    writers = {
        split: v1.summary.FileWriter(str(summaries_dir / split), session.graph)
        for split in ("train", "validation")
    }

    def feed(batch: tuple[list[list[float]], list[int]]) -> dict:
        return dict(zip((head.bottlenecks, head.label_indices), batch, strict=True))

    session.run(v1.global_variables_initializer())
    for step in range(steps):
        batch = feed(bottlenecks.random_batch(images, "training"))
        summary, _ = session.run([head.summaries, head.train_step], batch)
        writers["train"].add_summary(summary, step)
        if step % EVAL_STEP_INTERVAL == 0 or step + 1 == steps:
            accuracy, cross_entropy = session.run(
                [head.accuracy, head.cross_entropy], batch
            )
            log.info("Step %d: Train accuracy = %.1f%%", step, accuracy * 100)
            log.info("Step %d: Cross entropy = %f", step, cross_entropy)
            batch = feed(bottlenecks.random_batch(images, "validation"))
            summary, accuracy = session.run([head.summaries, head.accuracy], batch)
            writers["validation"].add_summary(summary, step)
            log.info("Step %d: Validation accuracy = %.1f%%", step, accuracy * 100)
    for writer in writers.values():
        writer.close()
    return float(
        session.run(head.accuracy, feed(bottlenecks.all_of(images, "testing")))
    )


def save(session: v1.Session, labels: Iterable[str], work: Path) -> None:
    """Writes the frozen graph and the labels."""
    graph = v1.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), ["final_result"]
    )
    (work / "retrained_graph.pb").write_bytes(graph.SerializeToString())
    (work / "retrained_labels.txt").write_text("".join(f"{x}\n" for x in labels))


def retrain(
    image_dir: Path, graph_path: Path, image_size_px: int, steps: int, work: Path
) -> dict:
    """Runs the whole job, writes files to `work`, and returns the JSON to print.

    Args:
      image_dir: one folder per label, JPEG files only.
      graph_path: the frozen MobileNet.
      image_size_px: side of its input.
      steps: training steps; 0 stops after the bottlenecks.
      work: the folder for `bottlenecks/`, `summaries/`, `retrained_graph.pb` and
        `retrained_labels.txt`. Existing bottlenecks are used.
    """
    images, folders = find_images(image_dir)
    for label, splits in images.items():
        if steps and not all(splits.values()):
            counts = {split: len(names) for split, names in splits.items()}
            sys.exit(f"cannot train: {label!r} has {counts} images; give it more")
    found = sum(len(names) for splits in images.values() for names in splits.values())
    with tf.Graph().as_default(), v1.Session() as session:
        graph_def = v1.GraphDef.FromString(graph_path.read_bytes())
        bottleneck, _ = tf.import_graph_def(
            graph_def, name="", return_elements=[BOTTLENECK, INPUT]
        )
        bottlenecks = Bottlenecks(
            session, image_dir, work / "bottlenecks", folders, image_size_px
        )
        marks_s = [STARTED_S, time.monotonic()]
        bottlenecks.create_all(images)
        marks_s.append(time.monotonic())
        accuracy = None
        if steps:
            head = add_head(bottleneck, len(images))
            accuracy = train(
                session, head, bottlenecks, images, steps, work / "summaries"
            )
            save(session, images, work)
        marks_s.append(time.monotonic())
    phases = ("start", "bottlenecks", "training")
    durations = np.diff(marks_s).tolist()
    created = bottlenecks.created
    return {
        "images": found,
        "created": created,
        "steps": steps,
        "duration_s": dict(zip(phases, durations, strict=True))
        | {"total": marks_s[-1] - STARTED_S},
        "images_per_s": created / durations[1] if created else None,
        "test_accuracy": accuracy,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Parses the flags, retrains and prints the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline")
    parser.add_argument("--image_dir", type=Path, required=True)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--image_size_px", type=int, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--work", type=Path, required=True)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s: %(message)s")
    result = retrain(
        flags.image_dir, flags.graph, flags.image_size_px, flags.steps, flags.work
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
