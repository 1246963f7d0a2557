"""A process that does what pictures say, in the place of `poets.serve.server.process`.

    die      it kills itself
    hold     it writes its id to the file `held`, and waits for the file `go`
    refuse   it has no scores
    ...      its scores are the length of the picture

Its model is the folder of these files. The file `seen` has the pictures it was given;
`loaded-ID` shows that it has loaded.
"""

import array
import json
import os
import signal
import sys
import time
from pathlib import Path

from poets.serve.server.protocol import packed_answers, read_batch

TIMEOUT_S = 60


def main() -> None:
    """Answers on stdout until stdin ends."""
    folder = Path(json.loads(sys.stdin.buffer.readline())["model"])
    if folder.name == "hopeless":
        os.kill(os.getpid(), signal.SIGKILL)
    answers = sys.stdout.buffer
    answers.write(b'{"labels": ["length"]}\n')
    answers.flush()
    (folder / f"loaded-{os.getpid()}").touch()
    while batch := read_batch(sys.stdin.buffer):
        answers.write(packed_answers([answer(folder, each) for each in batch]))
        answers.flush()


def answer(folder: Path, picture: bytes) -> "array.array[float] | str":
    with (folder / "seen").open("ab") as seen:
        seen.write(picture[:20] + b"\n")
    if picture == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if picture == b"hold":
        (folder / "held.new").write_text(str(os.getpid()))
        (folder / "held.new").rename(folder / "held")
        deadline = time.monotonic() + TIMEOUT_S
        while not (folder / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    if picture == b"refuse":
        return "not a picture: ä"
    return array.array("f", [len(picture)])


if __name__ == "__main__":
    main()
