"""Runs a KDC on a DC/OS cluster, as a Marathon app, with the `dcos` command.

    kdc.json ──> dcos marathon app add ──> task kdc.<uuid>
                                             │ dcos task exec .. kadmin.local
                 dcos security secrets <── keytab

The KDC's keys are lost when its task ends: deploy again after a restart. The output of
commands is not trusted; after each step the result is checked.
"""

import base64
import binascii
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from poets.errors import ConfigError
from poets.kerberos.keytab import KeytabError, principals_of, read_keytab
from tools.kdc.interface import PORT, REALM, KdcError, life_options

APP = Path(__file__).with_name("kdc.json")
APP_ID = "/kdc"
HOST = "kdc.marathon.autoip.dcos.thisdcos.directory"
COMMAND_S = 120.0
DEPLOY_S = 900.0

SECRETS = "/var/lib/krb5kdc/secrets"
"""A folder in the task with one file per secret, which lists its principals."""

EXPORT = (  # $1: the file for the list of principals; $2...: the principals
    'set -e; umask 077; list="$1"; shift; folder=$(mktemp -d); '
    "trap 'rm -rf \"$folder\"' EXIT; "
    'kadmin.local ktadd -q -norandkey -k "$folder/keytab" "$@" >&2; '
    'mkdir -p "$(dirname "$list")"; printf "%s\\n" "$@" >"$list"; '
    'base64 -w 0 "$folder/keytab"'
)

_log = logging.getLogger(__name__)


class DcosKdc:
    """The KDC of the cluster that `dcos` is attached to.

    Attributes:
      realm: its realm.
      address: host:port inside the cluster.
    """

    realm = REALM
    address = f"{HOST}:{PORT}"

    def __init__(self, binary: bool = False, poll_s: float = 2.0):
        """Sets the parameters; runs no command.

        Args:
          binary: whether secrets hold plain keytabs instead of base64.
          poll_s: the interval for checking whether the app runs.
        """
        self._binary = binary
        self._poll_s = poll_s

    @property
    def is_running(self) -> bool:
        """Whether the app runs and is healthy."""
        app = self._app()
        return bool(app and app.get("tasksHealthy"))

    def start(self) -> bool:
        """Adds the app, unless it exists, and waits until it is healthy."""
        self._names_of_secrets()  # fails early if the secret store is not available
        new = self._app() is None
        if new:
            self._dcos("marathon", "app", "add", str(APP))
        self._wait(lambda: self.is_running, "run", self._state)
        return new

    def principals(self) -> list[str]:
        """Returns all principals, the KDC's own included."""
        names = self._exec("kadmin.local", "listprincs").split()
        return [name for name in names if name.endswith(f"@{REALM}")]

    def add(
        self,
        principals: Sequence[str],
        max_life: str | None = None,
        max_renewable_life: str | None = None,
    ) -> list[str]:
        """Creates principals with random keys; see `Kdc.add`."""
        options = life_options(max_life, max_renewable_life)
        known = set(self.principals())
        for principal in principals:
            if principal not in known:
                self._exec("kadmin.local", "addprinc", "-randkey", *options, principal)
            elif options:
                self._exec("kadmin.local", "modprinc", *options, principal)
        if missing := sorted(set(principals) - set(self.principals())):
            raise KdcError(
                f"kadmin did not create {', '.join(missing)}; see `dcos task log`"
            )
        return [principal for principal in principals if principal not in known]

    def keytab(self, secret: str, principals: Sequence[str]) -> str:
        """Stores the current keys of existing principals in a secret."""
        text = self._exec("sh", "-c", EXPORT, "sh", f"{SECRETS}/{secret}", *principals)
        try:
            data = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            raise _no_keytab("its output is not base64") from None
        with tempfile.TemporaryDirectory(prefix="poets-kdc-") as made:
            path = Path(made, "keytab")  # only this user can read the folder
            path.write_bytes(data)
            try:
                held = principals_of(read_keytab(str(path)))
            except KeytabError:
                raise _no_keytab(
                    f"its output, {len(data)} bytes, is not a keytab"
                ) from None
            if missing := sorted(set(principals) - set(held)):
                raise _no_keytab(f"it lacks {', '.join(missing)}")
            if not self._binary:
                path.write_bytes(base64.b64encode(data))
            verb = "update" if secret in self._names_of_secrets() else "create"
            self._dcos("security", "secrets", verb, "-f", str(path), secret)
        if secret not in self._names_of_secrets():
            raise KdcError(
                f"`dcos security secrets {verb}` did not store {secret!r}; look at "
                "`dcos security secrets list /`"
            )
        return "in the cluster's secret store"

    def secrets(self) -> dict[str, list[str]]:
        """Returns secret -> principals, for secrets stored since the task started."""
        script = 'cd "$1" 2>/dev/null && grep -r . . || true'
        listing = self._exec("sh", "-c", script, "sh", SECRETS)
        found: dict[str, list[str]] = {}
        for line in listing.split():
            name, _, principal = line.removeprefix("./").partition(":")
            if principal:
                found.setdefault(name, []).append(principal)
        stored = set(self._names_of_secrets())
        return {name: found[name] for name in sorted(found) if name in stored}

    def delete_secret(self, secret: str) -> bool:
        """Deletes a secret; returns whether it existed."""
        if secret not in self._names_of_secrets():
            return False
        self._dcos("security", "secrets", "delete", secret)
        if secret in self._names_of_secrets():
            raise KdcError(
                f"secret {secret!r} still exists; see `dcos security secrets list /`"
            )
        return True

    def remove(self) -> None:
        """Removes the app, if it exists, and waits until it is gone."""
        if self._app() is not None:
            self._dcos("marathon", "app", "remove", "--force", APP_ID)
            self._wait(lambda: self._app() is None, "end", self._state)

    def _app(self) -> dict[str, Any] | None:
        apps = self._json("marathon", "app", "list", "--json")
        return next((app for app in apps if app.get("id") == APP_ID), None)

    def _state(self) -> str:
        app = self._app() or {}
        return ", ".join(
            f"{name} {app.get(f'tasks{name.capitalize()}', 0)}"
            for name in ("staged", "running", "healthy", "unhealthy")
        )

    def _exec(self, *command: str) -> str:
        """Runs a command in the KDC's task and returns its stdout."""
        tasks = self._json("marathon", "task", "list", APP_ID, "--json")
        running = [task for task in tasks if task.get("state") == "TASK_RUNNING"]
        if not running:
            raise KdcError(
                f"no task of Marathon app {APP_ID!r} runs; deploy it, or look at "
                "`dcos marathon app show /kdc`"
            )
        return self._dcos("task", "exec", running[0]["id"], *command)

    def _names_of_secrets(self) -> list[str]:
        listing = self._dcos("security", "secrets", "list", "/")
        names = [line.strip().removeprefix("-") for line in listing.splitlines()]
        return [name.strip().strip("/") for name in names if name.strip()]

    def _json(self, *arguments: str) -> list[dict[str, Any]]:
        said = self._dcos(*arguments)
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if not isinstance(answer, list):
            raise KdcError(
                f"dcos {' '.join(arguments)} answered {said[:200]!r}, not a JSON list; "
                "is this the DC/OS command line?"
            )
        return answer

    def _dcos(self, *arguments: str) -> str:
        """Runs the `dcos` command and returns its stdout, which is never shown."""
        program = shutil.which("dcos")
        if program is None:
            raise ConfigError(
                "no `dcos` command on the PATH; install it and run `dcos cluster "
                "setup`, or give --local DIR for a KDC on this machine"
            )
        shown = " ".join(("dcos", *arguments[:3]))
        try:
            done = subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_S,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KdcError(
                f"{shown} gave no answer within {COMMAND_S:g} s; is the cluster up?"
            ) from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            cure = (
                "dcos package install --cli dcos-enterprise-cli"
                if arguments[0] == "security"
                else "check `dcos cluster list` and `dcos auth login`"
            )
            raise KdcError(f"{shown} failed: {said}; {cure}")
        return done.stdout

    def _wait(
        self, ready: Callable[[], bool], to: str, state: Callable[[], str]
    ) -> None:
        """Waits for the app, and logs each change of its state."""
        deadline = time.monotonic() + DEPLOY_S
        logged = ""
        while not ready():
            if (now := state()) != logged:
                _log.info("waiting for app %s to %s: %s", APP_ID, to, now)
                logged = now
            if time.monotonic() > deadline:
                raise KdcError(
                    f"app {APP_ID!r} did not {to} within {DEPLOY_S:g} s: {now}; look "
                    "at `dcos marathon app show /kdc` and `dcos task log kdc`"
                )
            time.sleep(self._poll_s)


def _no_keytab(found: str) -> KdcError:
    return KdcError(
        f"no keytab from the KDC's task: {found}; look at `dcos task log kdc`"
    )
