"""Whether a storage asks who we are, and who that is."""

import contextlib
import os

from poets.errors import PoetsError
from poets.kerberos.libkrb5 import get_tgt
from poets.kerberos.login import Login, current_login
from poets.storage.calls import allowed_s
from poets.storage.hadoop.client_conf import kerberos_is_on
from poets.storage.hadoop.conf import load_conf
from poets.storage.hadoop.user import PROXY_USER, User

HDFS = ("hdfs", "viewfs")
WEBHDFS = ("webhdfs", "swebhdfs")


def is_secure(scheme: str) -> bool:
    """Returns whether a storage of this scheme is reached with Kerberos.

    HDFS says so in its configuration. A WebHDFS URL needs none: whoever is logged in
    uses it.

    Raises:
      PoetsError: if the configuration or the login cannot be read.
    """
    if scheme not in HDFS + WEBHDFS:
        return False
    if kerberos_is_on(load_conf()):
        return True
    return scheme in WEBHDFS and current_login() is not None


def log_in(scheme: str) -> str:
    """Returns who we are on a storage of this scheme; "" if that is not known.

    Raises:
      PoetsError: if the configuration or the login cannot be read.
    """
    if is_secure(scheme):
        current_login()
    return principal_of(scheme)


def principal_of(scheme: str) -> str:
    """Returns who we are on a storage of this scheme; "" if that is not known."""
    with contextlib.suppress(PoetsError, OSError):
        if is_secure(scheme):
            login = current_login() or Login(None, None, None)
            principal = login.principal or get_tgt(login, allowed_s()).principal
            return str(User(principal, os.environ.get(PROXY_USER, "")))
    return ""
