"""The signatures of our SavedModels, answered by any model.

    serving_default  image: string []              prediction [1, L], classes [L]
    serving_bytes    image_bytes: string [N]       prediction [N, L], classes [N, L]
    serving_images   images: float32 [N, S, S, 3]  prediction [N, L], classes [N, L]

The last one is for models whose run is known: `images` are scaled for its backbone.
The texts of errors are TensorFlow Serving's, because its clients compare them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from poets.serve.server.errors import PictureError, RequestError
from poets.serve.server.models import Version
from poets.serve.server.protocol import TENSOR
from poets.serve.server.scoring import Scores

DEFAULT, BYTES, IMAGES = "serving_default", "serving_bytes", "serving_images"
METHOD = "tensorflow/serving/predict"
OUTPUTS = ("classes", "prediction")
NONE = "(none)"


class Signature(NamedTuple):
    """The only input of a signature.

    Attributes:
      input_name: its key.
      rank: 0 for one picture, 1 for N of them, 4 for N as pixels.
    """

    input_name: str
    rank: int

    @property
    def dtype(self) -> str:
        """The type of the input, in TensorFlow's words."""
        return "DT_FLOAT" if self.rank == 4 else "DT_STRING"


SIGNATURES = {
    DEFAULT: Signature("image", 0),
    BYTES: Signature("image_bytes", 1),
    IMAGES: Signature("images", 4),
}


class Tensor(NamedTuple):
    """An input: its shape, and its pictures as bytes of files or scaled pixels."""

    shape: Sequence[int]
    values: Sequence[bytes]


@dataclass(frozen=True)
class Answer:
    """The scores of N pictures.

    Attributes:
      signature: the name of the signature.
      version: the number of the version that gave them.
      labels: L labels.
      scores: N times L.
    """

    signature: str
    version: int
    labels: Sequence[str]
    scores: Sequence[Scores]


def signatures_of(version: Version) -> Mapping[str, Signature]:
    """Returns the signatures that a version answers."""
    if version.description.takes_tensors:
        return SIGNATURES
    return {name: each for name, each in SIGNATURES.items() if name != IMAGES}


def signature_of(version: Version, name: str) -> Signature:
    """Returns a signature of a version; "" is the default.

    Raises:
      RequestError: if there is none of that name.
    """
    found = signatures_of(version).get(name or DEFAULT)
    if found is None:
        raise RequestError(
            f'Serving signature key "{name}" not found.', "FAILED_PRECONDITION"
        )
    return found


def pictures_in(signature: Signature, inputs: Mapping[str, Tensor]) -> Sequence[bytes]:
    """Returns the pictures in the inputs of a signature.

    Raises:
      RequestError: if other inputs are given, or their shape is wrong.
    """
    needed = {signature.input_name}
    if set(inputs) != needed:
        raise RequestError(
            f"input size does not match signature: {len(inputs)}!=1 "
            f"len({_set(inputs)}) != len({_set(needed)}). "
            f"Sent extra: {_set(set(inputs) - needed)}. "
            f"Missing but required: {_set(needed - set(inputs))}."
        )
    given = inputs[signature.input_name]
    if len(given.shape) != signature.rank:
        raise RequestError(
            f"input {signature.input_name!r} has shape {list(given.shape)}; it must "
            f"have rank {signature.rank}"
        )
    return given.values


def pixel_tensor(values: Any, shape: Sequence[int] | None = None) -> Tensor:
    """Returns an input of `serving_images`.

    Args:
      values: numbers, nested as their shape is, or bytes of float32.
      shape: their shape, if they are not nested.

    Raises:
      RequestError: if it is not such an array.
    """
    import numpy as np  # for few requests

    try:
        is_raw = isinstance(values, bytes)
        pixels = np.frombuffer(values, "<f4") if is_raw else np.asarray(values, "<f4")
        pixels = pixels if shape is None else pixels.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(
            f"input 'images' is not an array of numbers: {error}"
        ) from error
    rows = [TENSOR + row.tobytes() for row in pixels] if pixels.ndim else []
    return Tensor(pixels.shape, rows)


def check_filter(aliases: Sequence[str]) -> Collection[str]:
    """Returns the outputs that a request asks for, all by default.

    Raises:
      RequestError: if an output is unknown or asked for twice.
    """
    for position, alias in enumerate(aliases):
        if alias not in OUTPUTS:
            raise RequestError(
                f"output tensor alias not found in signature: {alias} Outputs expected "
                f"to be in the set {_set(OUTPUTS)}."
            )
        if alias in aliases[:position]:
            raise RequestError(f"duplicate output tensor alias: {alias}")
    return aliases or OUTPUTS


async def answer(version: Version, signature: str, pictures: Sequence[bytes]) -> Answer:
    """Returns the scores of pictures.

    Raises:
      PictureError: if one has none.
      OverloadedError: if too many pictures wait.
    """
    labels, number = version.labels, version.number
    found = await version.score(pictures)
    scores = []
    for position, each in enumerate(found):
        if isinstance(each, PictureError):
            which = f"picture {position}: " if len(pictures) > 1 else ""
            raise PictureError(f"{which}{each}")
        scores.append(each)
    return Answer(signature or DEFAULT, number, labels, scores)


def best_first(
    answer: Answer, row: int, reject_below: float = 0.0
) -> list[tuple[str, float]]:
    """Returns the labels of one picture with their scores, the best first.

    If the best score is too low, that is (none) alone, with this score.
    """
    if (best := max(answer.scores[row])) < reject_below:
        return [(NONE, best)]
    scored = zip(answer.labels, answer.scores[row], strict=True)
    return sorted(scored, key=lambda pair: -pair[1])


def _set(names: Collection[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
