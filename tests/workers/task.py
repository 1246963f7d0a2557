"""A worker to be killed: computes the bottlenecks of a folder with other workers.

python task.py SETTINGS_JSON INDEX NUM_WORKERS

The chief writes what it got to `settings["answer"]`; nothing here imports TensorFlow.
"""

import json
import logging
import sys

import numpy as np

from poets.cluster import Cluster
from poets.data.dataset import find_images
from poets.errors import PoetsError
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.process import Spec
from poets.flags import config_from_args
from poets.workers import division, worker
from poets.workers.chief import Chief
from poets.workers.worker import Worker


def main(settings, index, num_workers):
    cluster = Cluster("worker", index, index, num_workers)
    config = config_from_args(settings["flags"])
    division.LATE_S = settings["late_s"]
    worker.DONE_GRACE_S = settings["done_grace_s"]
    if index:
        with Pool(1) as pool:
            Worker(cluster, config, pool).follow()
        return
    with Chief(cluster, config) as chief:
        spec = Spec.from_json(settings["spec"])
        images = find_images(spec.image_dir).images
        chief.gather(1)
        plain = compute_bottlenecks(images, spec, chief)
        if settings.get("failing"):
            raise PoetsError(settings["failing"])
        some = images.take(
            np.flatnonzero([image.folder == "daisy" for image in images])
        )
        copies = compute_bottlenecks(some, spec, chief, range(2))
        digests = np.frombuffer(plain.digests.tobytes(), np.uint8)
        with open(settings["answer"], "wb") as file:
            np.savez(file, plain=plain.matrix, copies=copies.matrix, digests=digests)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except PoetsError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
