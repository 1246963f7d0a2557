"""Finds whether a storage requires authentication, and who we are there.

All but `principal_of` raise PoetsError if the configuration, the login or the token
cannot be read.
"""

import contextlib
import os

from poets.doctor import Checkup
from poets.errors import PoetsError
from poets.kerberos.libkrb5 import get_tgt
from poets.kerberos.login import current_login
from poets.kerberos.tokens import Token
from poets.storage.calls import allowed_s
from poets.storage.hadoop.client_conf import kerberos_is_on
from poets.storage.hadoop.conf import load_conf
from poets.storage.hadoop.tokens import rpc_token, web_token, why_none
from poets.storage.hadoop.url import web_addresses
from poets.storage.hadoop.user import PROXY_USER, User

HDFS = ("hdfs", "viewfs")
WEBHDFS = ("webhdfs", "swebhdfs")


def is_secure(checkup: Checkup) -> bool:
    """Returns whether a storage is reached with a ticket or a delegation token.

    For HDFS, its configuration decides. A WebHDFS URL works without one: if there is a
    login, it is used. A token is always for a secure cluster.
    """
    if checkup.scheme not in HDFS + WEBHDFS:
        return False
    if kerberos_is_on(load_conf()) or token_of(checkup) is not None:
        return True
    return checkup.scheme in WEBHDFS and current_login() is not None


def token_of(checkup: Checkup) -> Token | None:
    """Returns the delegation token for a storage; None if it needs a ticket."""
    if checkup.scheme in WEBHDFS:
        conf = load_conf()
        return web_token(web_addresses(checkup.url, conf), checkup.url, conf)
    return rpc_token(checkup.url, load_conf()) if checkup.scheme in HDFS else None


def why_no_token(checkup: Checkup) -> str:
    """Returns why no delegation token is used; "" if no token file is given."""
    conf = load_conf()
    is_web = checkup.scheme in WEBHDFS
    addresses = web_addresses(checkup.url, conf) if is_web else ()
    return why_none(checkup.url, conf, addresses)


def log_in(checkup: Checkup) -> str:
    """Returns our principal on a storage; "" if it is unknown."""
    if is_secure(checkup):
        current_login()
        token_of(checkup)
    return principal_of(checkup)


def principal_of(checkup: Checkup) -> str:
    """Returns our principal on a storage; "" if it is unknown."""
    with contextlib.suppress(PoetsError, OSError):
        if token := token_of(checkup):
            return str(User(token.owner, os.environ.get(PROXY_USER, "")))
        if is_secure(checkup):
            login = current_login()
            known = login.principal if login else None
            principal = known or get_tgt(login, allowed_s()).principal
            return str(User(principal, os.environ.get(PROXY_USER, "")))
    return ""
