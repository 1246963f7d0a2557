"""One worker of a whole job: python job.py FLAGS_JSON WORKER WORKERS ENDED.

Worker 0 runs the job and then writes the file ENDED, for which the others wait.
"""

import json
import sys
from pathlib import Path

from poets.bottlenecks.pool import Pool
from poets.cluster import Cluster
from poets.fine_tuning.tune import take_part
from poets.flags import config_from_args
from poets.preflight import preflight
from poets.retrain import retrain

if __name__ == "__main__":
    flags, worker, workers, path = sys.argv[1:]
    config, ended = config_from_args(json.loads(flags)), Path(path)
    cluster = Cluster("worker", int(worker), int(worker), int(workers), "localhost")
    if cluster.is_chief:
        with Pool(1) as pool:
            retrain(config, preflight(config), pool, cluster)
        ended.touch()
    else:
        take_part(config, cluster, ended.exists)
