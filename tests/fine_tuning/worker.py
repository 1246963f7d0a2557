"""A worker to be killed: its supervisor, and thereby its child.

python worker.py FOLDER KEY STEPS WORKER WORKERS CHECKPOINT_EVERY_S

Worker 0 leads and then writes FOLDER/ended, for which the others wait.
"""

import sys
from pathlib import Path

from poets.cluster import Cluster
from poets.fine_tuning.files import Folder
from poets.fine_tuning.supervise import Supervisor

if __name__ == "__main__":
    folder, key, steps, worker, workers, every_s = sys.argv[1:]
    cluster = Cluster(
        "worker", int(worker), int(worker), int(workers), host="127.0.0.1"
    )
    supervisor = Supervisor(Folder(folder), cluster, float(every_s))
    ended = Path(folder) / "ended"
    if cluster.is_chief:
        supervisor.lead(key, int(steps))
        ended.touch()
    else:
        supervisor.follow(ended.exists)
