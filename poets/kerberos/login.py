"""Logs this process in: its principal, keytab and ticket cache.

    settings ──> current_login() ──> Login(principal, keytab, cache)
                     │
                     └─> private folder; KRB5_CONFIG  KRB5CCNAME  KRB5_CLIENT_KTNAME

With a keytab, tickets are in a private cache of this process and never run out: GSSAPI
gets a new one for every connection that needs it. Without a keytab, the existing cache
is used, until its ticket expires.
"""

import itertools
import logging
import os
import threading
from pathlib import Path

from poets.kerberos.folder import VARIABLE, PrivateFolder
from poets.kerberos.keytab import mode_open_to_others
from poets.kerberos.libkrb5 import Login
from poets.kerberos.settings import CACHE, CONFIG, KEYTAB, VARIABLES, read_settings

_log = logging.getLogger(__name__)


def current_login() -> Login | None:
    """Returns this process's login; None if Kerberos is not configured.

    The first call must come before threads are started, since it sets environment
    variables (`setenv` is not thread-safe): KRB5_CONFIG, KRB5CCNAME, KRB5_CLIENT_KTNAME
    and POETS_KERBEROS_DIR, by which child processes find the private folder. Later
    calls return the same, until a variable changes.

    Raises:
      ConfigError: if settings contradict each other; names all of them.
      KeytabError: if the keytab cannot be read or lacks the principal.
    """
    with _state.lock:
        if _state.seen != _environment():
            _state.login = _log_in()
            _state.seen = _environment()
        return _state.login


def close() -> None:
    """Removes this process's tickets, and the private folder if it created that.

    Call it before `os._exit`; otherwise it happens when the interpreter ends. The next
    `current_login` logs in again.
    """
    with _state.lock:
        if _state.folder is not None:
            for name in (CACHE, CONFIG):
                if _state.folder.holds(os.environ.get(name)):
                    del os.environ[name]
            _state.folder.remove()
        _state.forget()


class _State:
    """The login of this process; a forked child starts with a new one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.numbers = itertools.count()
        self.forget()

    def forget(self) -> None:
        self.seen: list[str | None] | None = None
        self.login: Login | None = None
        self.folder: PrivateFolder | None = None

    def private_folder(self) -> PrivateFolder:
        if self.folder is None:
            self.folder = PrivateFolder()
        return self.folder


_state = _State()
os.register_at_fork(after_in_child=lambda: globals().update(_state=_State()))


def _environment() -> list[str | None]:
    return [os.environ.get(name) for name in (*VARIABLES, VARIABLE)]


def _log_in() -> Login | None:
    environment = dict(os.environ)
    folder = environment.get(VARIABLE)
    if folder and environment.get(CACHE, "").startswith(f"FILE:{folder}/"):
        del environment[CACHE]  # the parent's, or an earlier login's
    settings = read_settings(environment)
    if settings is None:
        return None
    if settings.krb5_conf:
        os.environ[CONFIG] = _write(settings.krb5_conf)
    if not settings.keytab:
        return Login(settings.principal, cache=settings.cache)
    private = _state.private_folder()
    # Children do not repeat the warning.
    if private.is_ours and (mode := mode_open_to_others(settings.keytab)):
        _log.warning(
            "keytab %s is open to others (mode %04o), who could act as its principals; "
            "chmod 600 it",
            settings.keytab,
            mode,
        )
    number = next(_state.numbers)
    cache = f"FILE:{private.path}/ccache.{os.getpid()}.{number}"
    os.environ[KEYTAB] = settings.keytab
    os.environ[CACHE] = cache
    return Login(settings.principal, settings.keytab, cache)


def _write(krb5_conf: str) -> str:
    """Writes a configuration into the private folder and returns its path.

    Processes with the same configuration share the file; a different one gets its own.
    """
    folder = _state.private_folder()
    path = Path(folder.path, "krb5.conf")
    if path.exists() and path.read_text("utf-8") == krb5_conf:
        return str(path)
    if path.exists():
        path = path.with_name(f"krb5.{os.getpid()}.{next(_state.numbers)}.conf")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(krb5_conf, "utf-8")
    part.replace(path)
    given = os.environ.get(CONFIG)
    if given and not folder.holds(given):
        _log.info("Kerberos: realm and KDC of the task are used, not %s", given)
    return str(path)
