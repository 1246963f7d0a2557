"""Runs a KDC of MIT krb5 on this machine, as an ordinary user, below one folder.

    DIR/krb5.conf        for clients: KRB5_CONFIG
    DIR/kdc.conf  db/    the KDC's configuration and database, including keys
    DIR/kdc.pid  log/    its process id while it runs, and its logs
    DIR/secrets/NAME     keytabs, named like the DC/OS secrets

It listens on loopback only. All operations can be repeated: existing files, principals
and their keys are kept, and a running KDC is not restarted.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from poets.errors import ConfigError
from poets.kerberos.keytab import principals_of, read_keytab
from poets.kerberos.krb5_conf import krb5_conf_text, realms
from tools.kdc.interface import PORT, REALM, KdcError, life_options
from tools.packages import PACKAGES, find_program, require_programs

HOST = "127.0.0.1"
DEADLINE_S = 30.0

_log = logging.getLogger(__name__)


class LocalKdc:
    """The KDC of a folder, running or not.

    Attributes:
      directory: its absolute path.
      realm: its realm.
      port: its TCP and UDP port of 127.0.0.1; `start` may change it.
      krb5_conf: the clients' configuration, for KRB5_CONFIG.
    """

    def __init__(
        self, directory: Path | str, realm: str | None = None, port: int = PORT
    ):
        """Describes the KDC of a folder; creates nothing.

        Args:
          directory: its folder, which need not exist.
          realm: the realm of a new KDC; default LOCAL. An existing KDC keeps its own.
          port: the port of a new KDC; any free port if it is 0 or in use. An existing
            KDC keeps its own.

        Raises:
          ConfigError: if the folder has a KDC of another realm, or an invalid name.
        """
        self.directory = Path(directory).absolute()
        self.krb5_conf = self.directory / "krb5.conf"
        self._secrets = self.directory / "secrets"
        self._pid_file = self.directory / "kdc.pid"
        if ":" in str(self.directory):
            raise ConfigError(
                f"no KDC in {str(directory)!r}: KRB5_CONFIG separates files by colons; "
                "give a folder without one"
            )
        kept = realms(str(self.krb5_conf))
        self.realm = kept.default_realm or realm or REALM
        if realm not in (None, self.realm):
            raise ConfigError(
                f"the KDC in {str(directory)!r} is of realm {self.realm!r}, not "
                f"{realm!r}; give its own realm or another folder"
            )
        self.port = dict(kept.kdcs.get(self.realm, [])).get(HOST, port)
        if port not in (0, PORT, self.port):
            _log.info("port %d is not used: this KDC has had %d", port, self.port)

    @property
    def address(self) -> str:
        """host:port that it listens on."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, None if it does not run."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # The id may belong to another program by now.
        return pid if os.fsencode(self._pid_file) in command.split(b"\0") else None

    @property
    def is_running(self) -> bool:
        """Whether the KDC's process exists."""
        return self.pid is not None

    def start(self) -> bool:
        """Starts the KDC, after creating it if new. It outlives this process.

        Returns:
          False if it was already running.

        Raises:
          ConfigError: if a program is missing.
          KdcError: if it does not start.
        """
        require_programs(*PACKAGES["krb5"].programs)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if self.is_running:  # perhaps started by another process meanwhile
                self.port = LocalKdc(self.directory, self.realm).port
                return False
            for name in ("db", "log", "secrets"):
                (self.directory / name).mkdir(mode=0o700, exist_ok=True)
            wanted, self.port = self.port, _free_port(self.port)
            if wanted not in (0, self.port):
                _log.info("port %d is in use; using %d", wanted, self.port)
            self._write_configuration()
            if not (self.directory / "db" / "stash").exists():
                for rest in (self.directory / "db").iterdir():
                    rest.unlink()  # left by an interrupted creation
                # The password is not needed again: the stash file has the key.
                password = f"{secrets.token_urlsafe(32)}\n"
                self._run("kdb5_util", "create", "-s", text=2 * password)
            # Returns once the KDC listens; the KDC keeps running in the background.
            self._run("krb5kdc", "-P", str(self._pid_file))
            self._wait(lambda: self.is_running and _answers(self.port), "start")
        return True

    def stop(self) -> None:
        """Stops the KDC, if it runs; keeps its keys."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._wait(lambda: not self.is_running, "stop")
        self._pid_file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stops the KDC and deletes its files, including keys and keytabs."""
        self.stop()
        for name in ("db", "log", "secrets"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for name in ("krb5.conf", "kdc.conf", "lock"):
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder has other files
            self.directory.rmdir()

    def principals(self) -> list[str]:
        """Returns all principals, the KDC's own included."""
        return self.kadmin("listprincs").split()

    def add(
        self,
        principals: Sequence[str],
        max_life: str | None = None,
        max_renewable_life: str | None = None,
    ) -> list[str]:
        """Creates principals with random keys; see `Kdc.add`."""
        options = life_options(max_life, max_renewable_life)
        with self._locked():
            known = set(self.principals())
            for principal in principals:
                if principal not in known:
                    self.kadmin("addprinc", "-randkey", *options, principal)
                elif options:
                    self.kadmin("modprinc", *options, principal)
        missing = set(principals) - set(self.principals())
        if missing:
            raise KdcError(
                f"kadmin did not create {sorted(missing)}; see {self._log()}"
            )
        return [principal for principal in principals if principal not in known]

    def keytab(self, secret: str, principals: Sequence[str]) -> Path:
        """Writes the current keys of principals to a keytab, atomically.

        Args:
          secret: the file's name below `secrets/`; may have folders.
          principals: existing principals, with their realm.

        Returns:
          The file, which only this user can read.

        Raises:
          KdcError: if a principal does not exist.
        """
        path = self._secrets / secret
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self._secrets) as made:
            part = os.path.join(made, "keytab")
            self.kadmin("ktadd", "-q", "-norandkey", "-k", part, *principals)
            held = principals_of(read_keytab(part)) if os.path.exists(part) else []
            if missing := sorted(set(principals) - set(held)):
                raise KdcError(
                    f"no keys of {', '.join(missing)}: unknown to the KDC in "
                    f"{str(self.directory)!r}; add them first"
                )
            os.replace(part, path)
        return path

    def delete_secret(self, secret: str) -> bool:
        """Deletes a keytab; returns whether it existed."""
        path = self._secrets / secret
        found = path.is_file()
        path.unlink(missing_ok=True)
        return found

    def secrets(self) -> dict[str, list[str]]:
        """Returns the keytabs' content: name -> principals."""
        paths = [path for path in self._secrets.rglob("*") if path.is_file()]
        return {
            path.relative_to(self._secrets).as_posix(): principals_of(
                read_keytab(str(path))
            )
            for path in sorted(paths)
        }

    def kadmin(self, *command: str) -> str:
        """Runs one command of kadmin.local and returns its output.

        Raises:
          KdcError: if its exit code is not 0; kadmin reports some failures only in
            its output.
        """
        return self._run("kadmin.local", *command)

    def _write_configuration(self) -> None:
        for path, text in (
            (self.krb5_conf, krb5_conf_text(self.realm, [self.address])),
            (self.directory / "kdc.conf", self._kdc_conf()),
        ):
            part = path.with_suffix(".part")
            part.write_text(text)
            part.replace(path)

    def _kdc_conf(self) -> str:
        folder = self.directory
        return (
            "[kdcdefaults]\n"
            f"  kdc_listen = {self.address}\n"
            f"  kdc_tcp_listen = {self.address}\n"
            "[realms]\n"
            f"  {self.realm} = {{\n"
            f"    database_name = {folder}/db/principal\n"
            f"    key_stash_file = {folder}/db/stash\n"
            f"    acl_file = {folder}/kadm5.acl\n"
            "    max_life = 24h\n"
            "    max_renewable_life = 7d\n"
            "    supported_enctypes = aes256-cts:normal aes128-cts:normal\n"
            "  }\n"
            "[logging]\n"
            f"  kdc = FILE:{folder}/log/kdc.log\n"
            f"  admin_server = FILE:{folder}/log/kadmin.log\n"
            f"  default = FILE:{folder}/log/kadmin.log\n"
        )

    def _run(self, program: str, *arguments: str, text: str = "") -> str:
        """Runs a program of MIT krb5 on this KDC and returns its stdout."""
        done = subprocess.run(
            [find_program(program) or program, "-r", self.realm, *arguments],
            input=text,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C",
                "KRB5_CONFIG": str(self.krb5_conf),
                "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            },
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise KdcError(
                f"{program} {' '.join(arguments[:1])} failed on the KDC in "
                f"{str(self.directory)!r}: {said}; see {self._log()}"
            )
        return done.stdout

    def _log(self) -> str:
        return str(self.directory / "log")

    def _wait(self, ready: Callable[[], object], to: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not ready():
            if time.monotonic() > deadline:
                raise KdcError(
                    f"the KDC in {str(self.directory)!r} did not {to} within "
                    f"{DEADLINE_S:g} s; see {self._log()}"
                )
            time.sleep(0.01)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the lock that lets one process at a time change this KDC."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _free_port(wanted: int) -> int:
    """Returns `wanted` if it is free, else any free port."""
    for port in (wanted, *[0] * 20):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind((HOST, port))
                tcp.listen()
                number: int = tcp.getsockname()[1]
                udp.bind((HOST, number))
            except OSError:
                continue
            return number
    raise KdcError(f"no port of {HOST} is free for both TCP and UDP")


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
