"""Every export answers as the head that was trained: shown before it is published.

Test images go through each export as its users send them, and the answers are
compared with the head's on the same image's bottleneck. A different label is an error,
unless the head itself is undecided between the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from poets.backbones import Backbone
from poets.classifier.with_tensorflow import FrozenGraphClassifier, SavedModelClassifier
from poets.data.images import decode, is_plain, resize
from poets.errors import ModelError
from poets.features.engine_litert import connect
from poets.system.runtime import tf

MAX_CHECKED = 64
"""Images scored by each export in a batch."""

MAX_ONE_BY_ONE = 16
"""Images scored at an input that takes one at a time."""

UNDECIDED = 1e-3
"""Two best scores closer than this may change places by rounding."""


@dataclass(frozen=True)
class Samples:
    """Test images and what the head says of them.

    Attributes:
      paths: N paths, for messages.
      contents: the files' bytes.
      expected: float32 [N, L].
    """

    paths: Sequence[str]
    contents: Sequence[bytes]
    expected: np.ndarray

    def plain(self) -> "Samples":
        """Returns those that TensorFlow's decoder sees as we do."""
        return self._choose(
            [row for row, data in enumerate(self.contents) if is_plain(data)]
        )

    def few(self) -> "Samples":
        """Returns at most MAX_ONE_BY_ONE of them, from all labels."""
        count = min(len(self.paths), MAX_ONE_BY_ONE)
        return self._choose(
            np.linspace(0, len(self.paths) - 1, count).astype(int).tolist()
        )

    def _choose(self, rows: list[int]) -> "Samples":
        return Samples(
            [self.paths[row] for row in rows],
            [self.contents[row] for row in rows],
            self.expected[rows],
        )

    def pixels(self, size_px: int) -> np.ndarray:
        """Returns float32 [N, S, S, 3] in 0..255."""
        pictures = [resize(decode(data), size_px) for data in self.contents]
        return np.asarray(pictures, np.float32).reshape(-1, size_px, size_px, 3)


@dataclass(frozen=True)
class Check:
    """What a comparison found: `images` compared, and the largest difference."""

    images: int
    max_score_difference: float


def check_frozen_graph(
    data: bytes, labels: tuple[str, ...], backbone: Backbone, samples: Samples
) -> Check:
    """Scores a frozen graph at both its inputs.

    Raises:
      ModelError: if a label differs.
    """
    classifier = FrozenGraphClassifier(data, "the retrained graph", labels)
    plain = samples.plain().few()
    pixels = samples.pixels(backbone.image_size_px)
    scaled = (pixels - backbone.mean) / backbone.std
    return _worst(
        _compare(
            f"the retrained graph at {classifier.input_name}:0",
            samples,
            lambda: classifier.predict_scaled(scaled),
        ),
        _compare(
            "the retrained graph at DecodeJpeg/contents:0",
            plain,
            lambda: [classifier.predict_bytes(data) for data in plain.contents],
        ),
    )


def check_saved_model(folder: str, samples: Samples) -> Check:
    """Scores a SavedModel by its two signatures for bytes.

    Raises:
      ModelError: if a label differs.
    """
    classifier = SavedModelClassifier(folder)
    plain = samples.plain()
    few = plain.few()
    return _worst(
        _compare(
            "the SavedModel's serving_default",
            few,
            lambda: [classifier.predict_bytes(data) for data in few.contents],
        ),
        _compare(
            "the SavedModel's serving_bytes",
            plain,
            lambda: classifier.run("serving_bytes", list(plain.contents))["prediction"],
        ),
    )


def check_litert(path: str, samples: Samples) -> Check:
    """Scores a `.tflite` file.

    Raises:
      ModelError: if a label differs.
    """
    engine = connect(path)
    pixels = samples.pixels(engine.image_size_px)
    return _compare("the LiteRT model", samples, lambda: engine.run(list(pixels)))


def _compare(
    name: str, samples: Samples, score: Callable[[], Sequence[np.ndarray] | np.ndarray]
) -> Check:
    if not samples.contents:
        return Check(0, 0.0)
    try:
        found = np.asarray(score())
    except tf.errors.OpError as error:
        why = " ".join(str(error).removeprefix("Graph execution error:").split())
        raise ModelError(
            f"{name} does not answer on test images: {why[:300]}; nothing was published"
        ) from error
    best_two = np.sort(samples.expected, axis=1)[:, -2:]
    decided = best_two[:, 1] - best_two[:, 0] > UNDECIDED
    differs = found.argmax(axis=1) != samples.expected.argmax(axis=1)
    wrong = np.flatnonzero(differs & decided)
    if len(wrong):
        raise ModelError(
            f"{name} gives another label than the head that was trained on "
            f"{len(wrong)} of {len(found)} test images, first "
            f"{samples.paths[wrong[0]]!r}; nothing was published"
        )
    return Check(len(found), float(np.abs(found - samples.expected).max()))


def _worst(*checks: Check) -> Check:
    return Check(
        max(check.images for check in checks),
        max(check.max_score_difference for check in checks),
    )
