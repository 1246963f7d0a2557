"""What the doctor's tests share: where the images are, and checks of the output."""

import re

from tests.command import Ended

INPUT = "/tensorflow_input_data/doctor"
OUTPUT = "/tensorflow/doctor"


def steps_of(ended: Ended) -> dict[str, str]:
    """Returns step -> status, of the lines on a terminal."""
    lines = re.findall(r"^  (ok|FAILED|left out) +(.+?) +[\d.]+ s", ended.out, re.M)
    return {name: status for status, name in lines}


def assert_failed(ended: Ended, step: str, *texts: str):
    """Asserts that a run failed at a step, and said all texts."""
    assert ended.code == 1, ended
    assert steps_of(ended)[step] == "FAILED", ended.out
    assert list(steps_of(ended))[-1] == step, "nothing is tried after a failure"
    end = ended.out.partition("\nFAILED: ")[2]
    assert end.startswith(f"{step}, on "), ended.out
    for text in texts:
        assert text in end, ended.out
    assert re.search(r"^  what to do   \S", end, re.MULTILINE), ended.out
