"""Runs the job on made-up features: `python -m benchmarks.made_up FLAGS`.

Only the processes that compute bottlenecks are replaced. An image of `inputs.link_many`
gets the features of its photograph and the digest of its path. So a million images have
different contents, and exports are still checked on real pixels.

Prints, as JSON, the seconds of the preflight, which lists the images, and of making the
features; the seconds of other phases are in `metrics.json`.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.inputs import linked, photographs
from poets.cluster import ALONE
from poets.data.images import decode, resize
from poets.features.chunks import Chunk
from poets.features.engines import load_engine
from poets.features.pool import Advance, Unread
from poets.features.process import ImageTask, Spec
from poets.features.store import Row, Store, part_stem
from poets.flags import add_flags, config_from_args, flags_of
from poets.preflight import preflight
from poets.retraining import retrain
from poets.system.logs import log_to_stderr


class MadeUp:
    """Replaces `poets.features.pool.Pool`.

    Args:
      sources: the folder of the photographs, one folder per label.
    """

    cluster, processes = ALONE, 2

    def __init__(self, sources: Path) -> None:
        self._sources = sources
        self.took_s = 0.0

    @property
    def alone(self) -> "MadeUp":
        """The object itself, as there are no other workers."""
        return self

    def compute(
        self, spec: Spec, chunks: Iterable[Chunk], advance: Advance, first_number: int
    ) -> Unread:
        """Writes the parts of all chunks, see `Pool.compute`."""
        began_s = time.monotonic()
        features = self._features(spec)
        store = Store(spec.store_url, len(next(iter(features.values()))))
        for number, chunk in enumerate(chunks, first_number):
            rows = [_row(task, features) for task in chunk]
            store.write_part(rows, part_stem(number))
            advance(len(chunk))
        self.took_s += time.monotonic() - began_s
        return []

    def _features(self, spec: Spec) -> dict[str, np.ndarray]:
        """Returns the bottleneck of each photograph by its label's folder and name."""
        (network,) = spec.networks
        engine = load_engine(network.engine, network.model_path)
        paths = list(photographs(self._sources))
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(paths), engine.batch_size):
            batch = paths[start : start + engine.batch_size]
            pixels = [
                resize(decode(path.read_bytes()), engine.image_size_px)
                for path in batch
            ]
            names = [f"{path.parent.name}/{path.name}" for path in batch]
            found.update(zip(names, engine.run(pixels), strict=True))
        return found


def _row(task: ImageTask, features: dict[str, np.ndarray]) -> Row:
    digest = hashlib.sha256(task.path.encode()).digest()
    about = (task.path, "", task.length, task.mtime_ns, digest, None)
    return Row(*about, features[linked(task.path)])


def main() -> None:
    """Runs the job with the flags of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.made_up")
    parser.add_argument("--sources", type=Path, required=True)
    add_flags(parser)
    args = parser.parse_args()
    pool = MadeUp(args.sources)
    config = config_from_args(*flags_of(args))
    log_to_stderr()
    began_s = time.monotonic()
    dataset = preflight(config)
    preflight_s = time.monotonic() - began_s
    retrain(config, dataset, pool)  # type: ignore[arg-type]  # replaces a pool
    print(json.dumps({"preflight_s": preflight_s, "made_up_s": pool.took_s}))


if __name__ == "__main__":
    main()
