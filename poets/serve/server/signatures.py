"""The signatures of our SavedModels, answered by any model.

    serving_default  image: string []         prediction [1, L], classes [L]
    serving_bytes    image_bytes: string [N]  prediction [N, L], classes [N, L]

The texts of errors are TensorFlow Serving's, because its clients compare them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from poets.serve.server.errors import PictureError, RequestError
from poets.serve.server.models import Version
from poets.serve.server.scoring import Scores

DEFAULT, BYTES = "serving_default", "serving_bytes"
METHOD = "tensorflow/serving/predict"
OUTPUTS = ("classes", "prediction")


class Signature(NamedTuple):
    """One input of strings, and the tensors of the exported SavedModel.

    Attributes:
      input_name: key of the input.
      input_tensor: its tensor; `is_scalar` says whether it takes one picture or N.
    """

    input_name: str
    input_tensor: str
    is_scalar: bool


SIGNATURES = {
    DEFAULT: Signature("image", "DecodeJpeg/contents:0", True),
    BYTES: Signature("image_bytes", "image_bytes:0", False),
}


class Strings(NamedTuple):
    """A tensor of strings: its shape and its values in row-major order."""

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


def signature_of(name: str) -> Signature:
    """Returns a signature; "" is the default.

    Raises:
      RequestError: if there is none of that name.
    """
    found = SIGNATURES.get(name or DEFAULT)
    if found is None:
        raise RequestError(
            f'Serving signature key "{name}" not found.', "FAILED_PRECONDITION"
        )
    return found


def pictures_in(signature_name: str, inputs: Mapping[str, Strings]) -> Sequence[bytes]:
    """Returns the pictures in the inputs of a signature.

    Raises:
      RequestError: if other inputs are given, or their shape is wrong.
    """
    signature = signature_of(signature_name)
    needed = {signature.input_name}
    if set(inputs) != needed:
        raise RequestError(
            f"input size does not match signature: {len(inputs)}!=1 "
            f"len({_set(inputs)}) != len({_set(needed)}). "
            f"Sent extra: {_set(set(inputs) - needed)}. "
            f"Missing but required: {_set(needed - set(inputs))}."
        )
    given = inputs[signature.input_name]
    rank = 0 if signature.is_scalar else 1
    if len(given.shape) != rank:
        raise RequestError(
            f"input {signature.input_name!r} of {signature_name or DEFAULT} has shape "
            f"{list(given.shape)}; it must have rank {rank}"
        )
    return given.values


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


def best_first(answer: Answer, row: int) -> list[tuple[str, float]]:
    """Returns the labels of one picture with their scores, the best first."""
    scored = zip(answer.labels, answer.scores[row], strict=True)
    return sorted(scored, key=lambda pair: -pair[1])


def _set(names: Collection[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
