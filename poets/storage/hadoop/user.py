"""Whom a Hadoop cluster takes this process for.

    with a token         its owner
    with Kerberos        the principal of the login, or of the ticket cache
    without              HADOOP_USER_NAME, else the name of the user id
    HADOOP_PROXY_USER    the user for whom it acts, where the cluster allows that

In a container, a user id often has no name. Only a cluster without Kerberos needs one.
"""

import os
import pwd
import re
from typing import NamedTuple

from poets.errors import ConfigError
from poets.kerberos.login import Login
from poets.kerberos.tokens import Token

USER, PROXY_USER = "HADOOP_USER_NAME", "HADOOP_PROXY_USER"


class User(NamedTuple):
    """Who asks; in a message, `repr` is the quoted text.

    Attributes:
      name: a principal with its realm; a name where there is no Kerberos.
      acts_for: whose rights count and who owns new files, if somebody else's; or "".
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
    """Returns who asks a cluster: the owner of a delegation token before all others.

    Raises:
      ConfigError: if a name is needed and this process has none; hdfs-native would
        send "unknown".
    """
    for variable in (USER, PROXY_USER):
        if not os.environ.get(variable):
            os.environ.pop(variable, None)  # hdfs-native takes "" for a name
    acts_for = os.environ.get(PROXY_USER, "")
    if token is not None:
        return User(token.owner, acts_for)
    found = os.environ.get(USER) or system_user()
    if with_kerberos:
        owner = (login or Login(None, None, None)).owner()
        return User(owner or found or str(os.geteuid()), acts_for)
    if not found:
        raise ConfigError(
            f"cannot log in to HDFS: user id {os.geteuid()} has no name on this "
            f"machine, and a cluster without Kerberos goes by names; set {USER}"
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
