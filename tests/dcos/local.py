"""Jobs for the local scheduler, and what is left of them."""

import time
import zipfile
from pathlib import Path

import pytest

from poets.dcos.options import flatten
from poets.dcos.run import open_work_dir

DEADLINE_S = 300.0


def job_zip(folder, files):
    path = folder / "job.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def options_of(job_url, workers=1, ps=0, gpu_workers=0, **service):
    return flatten(
        {
            "service": {"job_url": job_url, "job_name": "job", **service},
            "worker": {"count": workers},
            "gpu_worker": {"count": gpu_workers},
            "parameter_server": {"count": ps},
            "tensorboard": {"port": 0},
        }
    )


def work_dir(tmp_path):
    return open_work_dir(str(tmp_path / "run"))


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def require_gone(pids):
    deadline = time.monotonic() + DEADLINE_S
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            pytest.fail(f"some of {pids} still run after {DEADLINE_S:g} s")
        time.sleep(0.02)
