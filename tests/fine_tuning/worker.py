"""A worker to be killed: its supervisor, and thereby its child, which it forks.

python worker.py FOLDER KEY STEPS WORKER WORKERS CHECKPOINT_EVERY_S SILENT_S

Worker 0 leads and then writes FOLDER/ended, for which the others wait. While there is
a file FOLDER/hold, its child waits after as many steps as the file says.
"""

import logging
import sys
from pathlib import Path

from poets.cluster import Cluster
from poets.errors import PoetsError
from poets.fine_tuning import supervise
from poets.fine_tuning.files import Folder
from tests.fine_tuning.forks import fork_children

if __name__ == "__main__":
    folder, key, steps, worker, workers, every_s, silent_s = sys.argv[1:]
    hold, ended = Path(folder) / "hold", Path(folder) / "ended"
    supervise.POLL_S, supervise.LOOK_EVERY_S = 0.02, 0.1
    supervise.CHECKPOINT_EVERY_S = float(every_s)
    supervise.SILENT_S = float(silent_s)
    fork_children(hold)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    cluster = Cluster(
        "worker", int(worker), int(worker), int(workers), host="127.0.0.1"
    )
    supervisor = supervise.Supervisor(Folder(folder), cluster)
    try:
        if cluster.is_chief:
            supervisor.lead(key, int(steps))
            ended.touch()
        else:
            supervisor.follow(ended.exists)
    except PoetsError as error:
        sys.exit(str(error))
