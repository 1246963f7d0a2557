"""What a KDC can do, wherever it runs, and what its secrets are called."""

import re
from collections.abc import Sequence
from typing import Protocol

from poets.errors import ConfigError, PoetsError

REALM = "LOCAL"
PORT = 2500

BASE64_PREFIX = "__dcos_base64__"
"""DC/OS decodes a secret of this name before a task sees it."""

NO_NAME = "_keytab"
"""What the historic script made of no name; here for every verb alike."""

DURATION = re.compile(r"(?:[0-9]+[smhd])+")


class KdcError(PoetsError):
    """The KDC cannot be made, started or asked."""


class Kdc(Protocol):
    """A KDC, whether it runs or not. Every method can be repeated.

    Attributes:
      realm: of all its principals, as "LOCAL".
    """

    realm: str

    @property
    def address(self) -> str:
        """Where clients find it: host:port."""

    @property
    def is_running(self) -> bool:
        """Whether it can be asked for tickets."""

    def start(self) -> bool:
        """Starts it, made first if it is new; returns whether that was needed."""

    def principals(self) -> list[str]:
        """Returns all principals, the KDC's own included."""

    def add(
        self,
        principals: Sequence[str],
        max_life: str | None = None,
        max_renewable_life: str | None = None,
    ) -> list[str]:
        """Makes principals with random keys; those that are there keep their keys.

        Args:
          principals: with their realm.
          max_life: of their tickets, as "20s" or "1d12h"; set on those that are there
            too. Default: the KDC's, 24 hours.
          max_renewable_life: likewise, for renewals; the KDC's is 7 days.

        Returns:
          Those that are new.
        """

    def keytab(self, secret: str, principals: Sequence[str]) -> object:
        """Puts the present keys of principals, which exist, into a secret.

        Returns:
          Where it is, for people to read.
        """

    def secrets(self) -> dict[str, list[str]]:
        """Returns whose keys the secrets hold: name -> principals."""

    def delete_secret(self, secret: str) -> bool:
        """Removes a secret; returns whether it was there."""

    def remove(self) -> None:
        """Stops it and removes what it made, keys included."""


def secret_name(name: str | None, binary: bool) -> str:
    """Returns a secret's full name; the prefix stands before its last part.

    Args:
      name: as the user gives it; may have folders, as "hdfs/keytab".
      binary: whether the secret holds the keytab as it is, and has no prefix.

    Raises:
      ConfigError: if it is no name of a secret.
    """
    name = NO_NAME if name is None else name
    if not re.fullmatch(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", name, re.ASCII):
        raise ConfigError(
            f"no secret can be called {name!r}; use letters, digits and ._-, in "
            "folders parted by /"
        )
    folder, slash, last = name.rpartition("/")
    if last.startswith(BASE64_PREFIX):
        bare = f"{folder}{slash}{last.removeprefix(BASE64_PREFIX)}"
        raise ConfigError(
            f"the secret's name {name!r} has {BASE64_PREFIX} already, which is put "
            f"before it here; give {bare!r}"
        )
    return name if binary else f"{folder}{slash}{BASE64_PREFIX}{last}"


def life_options(max_life: str | None, max_renewable_life: str | None) -> list[str]:
    """Returns kadmin's options for the lives of tickets.

    Raises:
      ConfigError: if one is no duration.
    """
    options = []
    for flag, life in (("-maxlife", max_life), ("-maxrenewlife", max_renewable_life)):
        if life is not None and not DURATION.fullmatch(life):
            raise ConfigError(
                f"{life!r} is no duration; write one like '20s' or '1d12h'"
            )
        options += [flag, life] if life is not None else []
    return options
