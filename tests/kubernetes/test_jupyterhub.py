"""deploy/jupyterhub: the pod of a user, and a real hub on this machine.

The hub runs with its own proxy (npm's `configurable-http-proxy`). A small server has
the interfaces of GitHub that a login uses.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml

from tests.kubernetes.schemas import refusals

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "jupyterhub"
PACKAGES = ("jupyterhub", "jupyterlab", "kubespawner", "oauthenticator")
TIMEOUT_S = 300
TOKEN = "the-token-of-this-test"
KUBECONFIG = """
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
"""
POD = """
import asyncio, json, sys
from types import SimpleNamespace
from jupyterhub.objects import Hub
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from traitlets.config import PyFileConfigLoader

async def main():
    settings = PyFileConfigLoader(sys.argv[1]).load_config()
    alice = SimpleNamespace(name="alice", id=1, url="/user/alice/", groups=[])
    spawner = KubeSpawner(config=settings, user=alice, hub=Hub(), _mock=True)
    spawner.user_options = {"profile": sys.argv[2]} if sys.argv[2] else {}
    await spawner.load_user_options()
    objects = [await spawner.get_pod_manifest(), spawner.get_pvc_manifest()]
    print(json.dumps(ApiClient().sanitize_for_serialization(objects)))

asyncio.run(main())
"""
HUB = """
load_subconfig({config!r})
c.JupyterHub.services = [dict(name="test", api_token={token!r})]
scopes = ["admin:servers", "admin:users", "access:servers"]
c.JupyterHub.load_roles = [dict(name="test", services=["test"], scopes=scopes)]
"""


@pytest.fixture(scope="module", autouse=True)
def _installed(require) -> None:
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    require("jupyterhub", not missing)


def objects_of(folder: Path, profile: str = "", **variables: str) -> list[dict]:
    """Returns the pod and the claim of a user, as the hub makes them."""
    (folder / "kubeconfig").write_text(KUBECONFIG)
    command = [sys.executable, "-c", POD, DEPLOY / "jupyterhub_config.py", profile]
    done = subprocess.run(
        command,
        env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_users_pod_is_one_that_a_cluster_takes_and_has_no_privileges(tmp_path):
    pod, claim = objects_of(tmp_path, HADOOP_CONFIG_MAP="hadoop-conf")
    assert refusals(pod) == refusals(claim) == []
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    home = volumes["home"]["persistentVolumeClaim"]["claimName"]
    assert home == claim["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    variables = {each["name"]: each.get("value") for each in container["env"]}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert variables["HOME"] == container["workingDir"] == mounts["home"]
    assert variables["POETS_HADOOP_CONF"] == mounts["hadoop-conf"]
    assert volumes["hadoop-conf"]["configMap"]["name"] == "hadoop-conf"


def test_a_user_may_choose_a_gpu_and_hdfs_is_optional(tmp_path):
    pod, _ = objects_of(tmp_path, "4-cores-16-gb-a-gpu")
    assert refusals(pod) == []
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "POETS_HADOOP_CONF" not in {each["name"] for each in container["env"]}


def test_the_charts_values_name_variables_that_the_configuration_reads():
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    known = (DEPLOY / "jupyterhub_config.py").read_text()
    assert [name for name in values["hub"]["extraEnv"] if name not in known] == []


class GitHub(BaseHTTPRequestHandler):
    """Logs in `server.user`; alice is a member of the organization `example`."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/login/oauth/authorize":
            back = f"?code={self.server.user}&state={given['state']}"
            self.send_response(302)
            self.send_header("Location", given["redirect_uri"] + back)
            self.end_headers()
        elif url.path == "/api/v3/user":
            user = self.headers["Authorization"].split()[1]
            self._answer({"login": user, "id": 1, "email": f"{user}@example.com"})
        else:
            member = url.path == "/api/v3/orgs/example/members/alice"
            self._answer({}, 204 if member else 404)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["client_secret"] == ["secret"]
        self._answer({"access_token": form["code"][0], "token_type": "bearer"})

    def _answer(self, content: object, status: int = 200) -> None:
        body = b"" if status == 204 else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def github() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def hub(github, require, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A hub with the login of GitHub, whose users are folders of this machine."""
    require("configurable-http-proxy", shutil.which("configurable-http-proxy"))
    folder = tmp_path_factory.mktemp("hub")
    config = folder / "hub.py"
    trial = str(DEPLOY / "trial_config.py")
    config.write_text(HUB.format(config=trial, token=TOKEN))
    ports = free_ports(3)
    url = f"http://127.0.0.1:{ports[0]}"
    variables = {
        "GITHUB_URL": f"http://127.0.0.1:{github.server_port}",
        "GITHUB_CLIENT_ID": "id",
        "GITHUB_CLIENT_SECRET": "secret",
        "GITHUB_ORGANIZATIONS": "example",
        "OAUTH_CALLBACK_URL": f"{url}/hub/oauth_callback",
        "HUB_PASSWORD": "not used here",
        "HUB_HOMES": str(folder / "homes"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jupyterhub", f"--config={config}"]
    command += [
        "--JupyterHub.authenticator_class=github",
        "--Authenticator.allow_all=False",
        f"--JupyterHub.bind_url={url}",
        f"--JupyterHub.hub_port={ports[1]}",
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{ports[2]}",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables, "PATH": path},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "JupyterHub is now running" in line:
                break
        else:
            pytest.fail("".join(lines))
        reader = threading.Thread(target=lines.extend, args=(process.stderr,))
        reader.start()
        try:
            yield SimpleNamespace(url=url, homes=folder / "homes", lines=lines)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            reader.join()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


@pytest.mark.soak
def test_members_of_the_organization_may_log_in(hub, github):
    found = {}
    for user in ("alice", "mallory"):
        github.user = user
        with requests.Session() as browser:
            reply = browser.get(f"{hub.url}/hub/oauth_login", timeout=TIMEOUT_S)
            home = browser.get(
                f"{hub.url}/hub/home", timeout=TIMEOUT_S, allow_redirects=False
            )
            found[user] = reply.status_code, home.status_code
    assert found == {"alice": (200, 200), "mallory": (403, 302)}


@pytest.mark.soak
def test_a_users_notebook_has_poets(hub, github, wait_until):
    github.user = "alice"
    requests.get(f"{hub.url}/hub/oauth_login", timeout=TIMEOUT_S)
    headers = {"Authorization": f"token {TOKEN}"}
    with requests.Session() as session:
        session.headers.update(headers)
        api = f"{hub.url}/hub/api/users/alice"
        session.post(f"{api}/server", timeout=TIMEOUT_S).raise_for_status()

        def ready() -> bool:
            servers = session.get(api, timeout=TIMEOUT_S).json()["servers"]
            return bool(servers and servers[""]["ready"])

        wait_until(ready, poll_s=0.5)
        own = f"{hub.url}/user/alice/api"
        reply = session.get(f"{own}/contents/poets.ipynb", timeout=TIMEOUT_S)
        assert reply.json()["type"] == "notebook"
        kernel = session.post(f"{own}/kernels", timeout=TIMEOUT_S).json()["id"]
        code = "import os, poets; print(poets.__file__, os.getcwd())"
        printed = asyncio.run(execute(f"{own}/kernels/{kernel}/channels", code))
        session.delete(f"{api}/server", timeout=TIMEOUT_S).raise_for_status()
    assert printed.split() == [
        str(ROOT / "poets" / "__init__.py"),
        str(hub.homes / "alice"),
    ]


async def execute(url: str, code: str) -> str:
    """Runs code in a kernel of a notebook server; returns what it printed."""
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    headers = {"Authorization": f"token {TOKEN}"}
    request = HTTPRequest(url.replace("http", "ws", 1), headers=headers)
    channels = await websocket_connect(request)
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "1"}
    header |= {"username": "", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}}
    message |= {"channel": "shell", "content": {"code": code, "silent": False}}
    await channels.write_message(json.dumps(message))
    printed = ""
    while True:
        text = await asyncio.wait_for(channels.read_message(), TIMEOUT_S)
        answer = json.loads(text)
        if answer["msg_type"] == "stream":
            printed += answer["content"]["text"]
        elif answer["msg_type"] == "error":
            raise AssertionError(answer["content"])
        elif (
            answer["msg_type"] == "status"
            and answer["content"]["execution_state"] == "idle"
            and answer["parent_header"].get("msg_id") == "1"
        ):
            channels.close()
            return printed
