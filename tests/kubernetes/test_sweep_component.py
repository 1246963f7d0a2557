"""A sweep by the workers of one job: what kustomize makes of `deploy/kubernetes/sweep`.

`kubectl kustomize` is skipped by its name where it is absent.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from poets.sweeps.plan import plan_sweep
from tests.kubernetes.schemas import pod_specs, refusals

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"


@pytest.mark.parametrize("kind", ["job", "tfjob"])
@pytest.mark.parametrize("storage", ["pvc", "s3"])
def test_every_worker_of_the_job_sweeps(require, tmp_path, kind, storage):
    require("kubectl", shutil.which("kubectl"))
    overlay, component = (
        os.path.relpath(DEPLOY / name, tmp_path)
        for name in (f"overlays/{kind}-{storage}", "sweep")
    )
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [overlay],
        "components": [component],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    things = {thing["kind"]: thing for thing in yaml.safe_load_all(done.stdout)}
    job = things["Job" if kind == "job" else "TFJob"]
    assert refusals(job) == []
    settings = things["ConfigMap"]["data"]
    (spec,) = pod_specs(job)
    (worker,) = spec["containers"]
    assert worker["command"] == ["tini", "--", "poets", "sweep"]
    texts = [
        re.sub(r"\$\((\w+)\)", lambda m: settings[m[1]], t) for t in worker["args"]
    ]
    pairs = [text[2:].split("=", 1) for text in texts]
    grid = [value for flag, value in pairs if flag == "grid"]
    flags = dict(pair for pair in pairs if pair[0] != "grid")
    output_dir = flags["output_dir"]
    planned = plan_sweep(flags, grid)
    assert len(planned.runs) == 9
    assert output_dir == f"{settings['OUTPUT_DIR']}/sweep"
    shown = f"{settings['OUTPUT_DIR']}/training_summaries"  # by TensorBoard
    assert planned.base.summaries_dir == shown
