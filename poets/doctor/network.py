"""Checks whether a server listens at an address."""

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from poets.doctor import Finding, StepError
from poets.storage.calls import allowed_s


def host_and_port(address: str, usual_port: int) -> tuple[str, int]:
    """Returns the parts of "host", "host:port" or "[IPv6]:port".

    Raises:
      StepError: if it has none of these forms.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise StepError(f"{address!r} is not an address", "give host:port")
    return host, port or usual_port


def reach(addresses: Sequence[tuple[str, int]], what: str, cure: str) -> Finding:
    """Connects by TCP to one address after another until one accepts.

    They share the deadline. The error names the server by `what`, and has the cure.

    Raises:
      StepError: if none does.
    """
    timeout_s = allowed_s() / len(addresses)
    refusals = []
    for host, port in addresses:
        at = f"{host}:{port}"
        try:
            with socket.create_connection((host, port), timeout_s) as connection:
                shown = connection.getpeername()[0]
        except TimeoutError:
            refusals.append(f"{at}: no answer within {timeout_s:.3g} s")
        except socket.gaierror:
            refusals.append(f"{at}: there is no host of this name")
        except OSError as error:
            refusals.append(f"{at}: {(error.strerror or str(error)).lower()}")
        else:
            by = "" if shown == host else f" ({shown})"
            return Finding(f"{at}{by} accepts connections", tuple(refusals))
    raise StepError(f"cannot reach {what}: {'; '.join(refusals)}", cure)
