"""The interface of local and cluster KDCs, and the names of their secrets."""

import re
from collections.abc import Sequence
from typing import Protocol

from poets.errors import ConfigError, PoetsError

REALM = "LOCAL"
PORT = 2500

BASE64_PREFIX = "__dcos_base64__"
"""DC/OS decodes secrets with this prefix before a task gets them."""

DEFAULT_NAME = "_keytab"
"""The original script's default name of the secret."""

DURATION = re.compile(r"(?:[0-9]+[smhd])+")


class KdcError(PoetsError):
    """An operation on the KDC failed."""


class Kdc(Protocol):
    """A KDC, running or not. All methods can be repeated.

    Attributes:
      realm: the realm of all its principals, such as "LOCAL".
    """

    realm: str

    @property
    def address(self) -> str:
        """host:port, for clients."""

    @property
    def is_running(self) -> bool:
        """Whether it runs."""

    def start(self) -> bool:
        """Starts it, after creating it if it is new; returns False if it ran."""

    def principals(self) -> list[str]:
        """Returns all principals, the KDC's own included."""

    def add(
        self,
        principals: Sequence[str],
        max_life: str | None = None,
        max_renewable_life: str | None = None,
    ) -> list[str]:
        """Creates principals with random keys; existing ones keep their keys.

        Args:
          principals: their names, with realm.
          max_life: the lifetime of their tickets, such as "20s" or "1d12h", also set
            for existing principals. Default: the KDC's, 24 hours.
          max_renewable_life: the same for renewals; the KDC's default is 7 days.

        Returns:
          The new principals.
        """

    def keytab(self, secret: str, principals: Sequence[str]) -> object:
        """Stores the current keys of existing principals in a secret.

        Returns:
          The place of the secret, to be printed.
        """

    def secrets(self) -> dict[str, list[str]]:
        """Returns secret -> principals whose keys it holds."""

    def delete_secret(self, secret: str) -> bool:
        """Deletes a secret; returns whether it existed."""

    def remove(self) -> None:
        """Stops the KDC and deletes its files, including keys."""


def secret_name(name: str | None, binary: bool) -> str:
    """Returns a secret's full name, with the prefix before its last part.

    Args:
      name: the user's name for it; may have folders, such as "hdfs/keytab".
      binary: whether the secret holds the plain keytab, without prefix.

    Raises:
      ConfigError: if it is not a valid name.
    """
    name = DEFAULT_NAME if name is None else name
    if not re.fullmatch(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", name, re.ASCII):
        raise ConfigError(
            f"{name!r} is not a valid name of a secret; use letters, digits and ._-, "
            "and / between folders"
        )
    folder, slash, last = name.rpartition("/")
    if last.startswith(BASE64_PREFIX):
        bare = f"{folder}{slash}{last.removeprefix(BASE64_PREFIX)}"
        raise ConfigError(
            f"the secret's name {name!r} already has {BASE64_PREFIX}, which kdc.py "
            f"adds; give {bare!r}"
        )
    return name if binary else f"{folder}{slash}{BASE64_PREFIX}{last}"


def life_options(max_life: str | None, max_renewable_life: str | None) -> list[str]:
    """Returns kadmin's options for the lifetimes of tickets.

    Raises:
      ConfigError: if one is not a duration.
    """
    options = []
    for flag, life in (("-maxlife", max_life), ("-maxrenewlife", max_renewable_life)):
        if life is not None and not DURATION.fullmatch(life):
            raise ConfigError(
                f"{life!r} is not a duration; write one like '20s' or '1d12h'"
            )
        options += [flag, life] if life is not None else []
    return options
