"""The hub on one machine, for a trial: each user is a folder below HUB_HOMES.

    jupyterhub --config deploy/jupyterhub/trial_config.py

Any name logs in with the password HUB_PASSWORD, of 8 characters or more. All users run
as the one who starts the hub, so it listens on 127.0.0.1 alone.
"""
# ruff: noqa: F821, of `c` and `load_subconfig`

import os
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "demo"
HOMES = Path(os.environ.get("HUB_HOMES", ".cache/hub")).resolve()

load_subconfig(str(HERE / "jupyterhub_config.py"))

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.db_url = "sqlite://"  # in memory
c.JupyterHub.cookie_secret = os.urandom(32)
HOMES.mkdir(parents=True, exist_ok=True)
c.ConfigurableHTTPProxy.pid_file = str(HOMES / "proxy.pid")
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(HOMES / "{username}")
if os.geteuid() == 0:
    c.Spawner.args = ["--allow-root"]


def copy_notebook(spawner: object) -> None:
    """Puts the notebook into the user's folder, as the image's hook does."""
    home = Path(spawner.home_dir)
    home.mkdir(parents=True, exist_ok=True)
    for name in ("poets.ipynb", "flowers.py", "pen.py"):
        if not (home / name).exists():
            shutil.copy(DEMO / name, home)


c.Spawner.pre_spawn_hook = copy_notebook
