"""The user of this process on a Hadoop cluster.

    with a token         its owner
    with Kerberos        the principal of the login, or of the ticket cache
    without              HADOOP_USER_NAME, else the name of the user id
    HADOOP_PROXY_USER    the user it acts for, if the cluster allows that

A user id in a container often has no name. Only clusters without Kerberos need one.
"""

import os
import pwd
import re
from typing import NamedTuple

from poets.errors import ConfigError
from poets.kerberos.libkrb5 import Login
from poets.kerberos.tokens import Token

USER, PROXY_USER = "HADOOP_USER_NAME", "HADOOP_PROXY_USER"


class User(NamedTuple):
    """The user of a request; `repr` is the quoted text for messages.

    Attributes:
      name: a principal with its realm; without Kerberos, a user name.
      acts_for: another user, whose rights count and who owns new files; or "".
    """

    name: str
    acts_for: str = ""

    def __str__(self) -> str:
        return f"{self.name} acting for {self.acts_for}" if self.acts_for else self.name

    def __repr__(self) -> str:
        return repr(str(self))

    @property
    def short_name(self) -> str:
        """The name without realm and host, as `hadoop.proxyuser` keys have it."""
        return _short(self.name)

    @property
    def home(self) -> str:
        """The name of the folder below /user."""
        return _short(self.acts_for) or self.short_name


def current_user(
    login: Login | None, with_kerberos: bool, token: Token | None = None
) -> User:
    """Returns this process's user; if there is a delegation token, its owner.

    Raises:
      ConfigError: if a user name is needed and there is none; hdfs-native would send
        "unknown".
    """
    for variable in (USER, PROXY_USER):
        if not os.environ.get(variable):
            os.environ.pop(variable, None)  # hdfs-native would use "" as a name
    acts_for = os.environ.get(PROXY_USER, "")
    if token is not None:
        return User(token.owner, acts_for)
    found = os.environ.get(USER) or system_user()
    if with_kerberos:
        owner = (login or Login()).owner()
        return User(owner or found or str(os.geteuid()), acts_for)
    if not found:
        raise ConfigError(
            f"cannot log in to HDFS: user id {os.geteuid()} has no name on this "
            f"machine, and a cluster without Kerberos needs one; set {USER}"
        )
    return User(found, acts_for)


def system_user() -> str:
    """Returns the name of this process's user id, "" if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _short(name: str) -> str:
    return re.split("[/@]", name)[0]
