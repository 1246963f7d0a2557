"""Requests to HDFS's web interface: authentication, redirects, errors as built-ins.

    Client ──> NameNode   Kerberos for the first request, then its cookie hadoop.auth;
       │          │       or a delegation token of the job
       │          └── 307, or 200 from HttpFS, which serves the data itself
       └─────> DataNode   the token in the redirect's URL authenticates the user

HdfsCLI makes the requests and fails over to the next NameNode. Threads share a client;
each request that needs Kerberos has its own GSS context. Tickets, tokens and cookies
never appear in a message, an exception or a log.
"""

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote

import hdfs
import requests
from hdfs.client import _Request
from requests.adapters import HTTPAdapter
from requests_kerberos import OPTIONAL, HTTPKerberosAuth

from poets.errors import NotAuthenticatedError
from poets.storage.hadoop.errors import Situation, of_server
from poets.storage.hadoop.web_errors import (
    CHECK_THE_PORT,
    TOKEN,
    java_class,
    lost_connection,
    refusal,
)
from poets.system.connections import HEADERS  # and no query appears in a log

TIMEOUTS_S = (10, 60)
"""To connect; between two packets."""

CONNECTIONS = 64  # kept open, to a host
COOKIE = "hadoop.auth"

UNREACHED = (requests.ConnectionError, requests.ReadTimeout)
NEXT = ("StandbyException", "RetriableException")  # HdfsCLI then asks the next NameNode

for _name in ("requests_kerberos", "spnego"):  # they log tickets; failures are raised
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


_signing = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_signing=threading.Lock()))


class _Signature(HTTPKerberosAuth):  # type: ignore[misc]
    """Signs one request at a time: MIT renews tickets in a file, not atomically."""

    def generate_request_header(self, *args: Any, **kwargs: Any) -> str:
        """Returns the header, by a new GSS context."""
        with _signing:
            return super().generate_request_header(*args, **kwargs)


def _sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Signs a request with a Kerberos ticket, unless it has the NameNode's cookie."""
    if "delegation=" in (request.url or ""):
        return request
    # A new one each time: two threads in one GSS context crash.
    signature = _Signature(
        mutual_authentication=OPTIONAL,
        force_preemptive=not _has_cookie(request),
        send_cbt=False,
    )
    return signature(request)


def _add_token(
    token: Callable[[], str], request: requests.PreparedRequest
) -> requests.PreparedRequest:
    """Adds a delegation token, except to a DataNode's URL, which has one already."""
    url = request.url or ""
    if "delegation=" not in url:
        request.prepare_url(url, {"delegation": token()})
    return request


def _has_cookie(request: requests.PreparedRequest) -> bool:
    return COOKIE in request.headers.get("Cookie", "")


class Unreached(requests.ConnectionError):
    """A NameNode did not answer; `failure` is the built-in error."""

    def __init__(self, failure: OSError) -> None:
        super().__init__()
        self.failure = failure


class Client(hdfs.Client):  # type: ignore[misc]
    """One cluster's web interface.

    Args:
      addresses: of its NameNodes or HttpFS, as "http://host:9870".
      token: returns the delegation token to send, as `url_text`; or None.
      ca_file: certificates to trust instead of the usual ones.
      situation: the user, whether Kerberos is used, and context for explaining
        errors.
    """

    # Redirects are followed here, to separate a DataNode's failures from a NameNode's.
    _open = _Request("GET", allow_redirects=False)

    def __init__(
        self,
        addresses: Iterable[str],
        token: Callable[[], str] | None,
        ca_file: str | None,
        situation: Situation,
    ) -> None:
        self._delegation = token
        self._ca_file, self._situation = ca_file, situation
        self._token: str | None = None
        session = self._new_session()
        super().__init__(";".join(addresses), session=session, timeout=TIMEOUTS_S)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # No proxy and no .netrc, like Hadoop's client. Looking for them takes a fifth
        # of the time of a read.
        session.trust_env = False
        adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        session.headers.update(HEADERS)
        who, params = self._situation.who, {}
        if self._delegation is not None:
            session.auth = partial(_add_token, self._delegation)
        elif self._situation.kerberos:
            session.auth = _sign
        else:
            params["user.name"] = who.short_name
        if who.acts_for:
            params["doas"] = who.acts_for
        session.params = params
        return session

    def renew(self) -> None:
        """Drops all connections, which belong to the parent after a fork."""
        self._session = self._new_session()

    def resolve(self, hdfs_path: str) -> str:
        """Returns the path as it is: "#LATEST" is an ordinary name here."""
        return hdfs_path

    def read(
        self, path: str, offset: int | None = None, length: int | None = None
    ) -> bytes:
        """Returns a file's content, or a part of it."""
        return self._with_data(
            self._open, "GET", path, None, offset=offset, length=length
        ).content

    def write(self, path: str, data: bytes | Iterator[bytes], **options: Any) -> None:
        """Creates or replaces a file."""
        self._with_data(self._create, "PUT", path, data, overwrite="true", **options)

    def _with_data(
        self,
        operation: Callable[..., requests.Response],
        method: str,
        path: str,
        data: bytes | Iterator[bytes] | None,
        **params: Any,
    ) -> requests.Response:
        """Asks the NameNode for a DataNode, and exchanges the data with it.

        The token of the first redirect is sent from then on. Otherwise the NameNode
        would create, log and keep a new one for each request.
        """
        token = self._token
        try:
            answer = operation(path, delegation=token, **params)
            if not answer.is_redirect:
                return answer
            place = answer.headers["Location"]
            if match := TOKEN.search(place):
                self._token = unquote(match["token"])
            answer = self._request(method, place, data=data)
            if not answer.ok:
                raise refusal(answer, self._situation)
            return answer
        except NotAuthenticatedError:
            self._token = None  # it has expired, or the NameNode was restarted
            if token is None or isinstance(data, Iterator):
                raise
        return self._with_data(operation, method, path, data, **params)

    @contextlib.contextmanager
    def errors(self, url: str) -> Iterator[None]:
        """Translates what the requests raise into built-in errors that show `url`."""
        try:
            yield
            return
        except hdfs.HdfsError as error:  # of the last NameNode
            failure = of_server(error.exception, error.message, url, self._situation)
        except (KeyError, TypeError, ValueError):
            failure = OSError(
                errno.EPROTO, f"the answer is not WebHDFS's; {CHECK_THE_PORT}"
            )
        except Unreached as error:
            failure = error.failure
        except OSError as error:
            failure = error
        failure.filename = failure.filename or url
        raise failure from None

    def _request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """Makes one request.

        Raises:
          OSError: a built-in, if it is refused, except by a standby; if a DataNode
            does not answer; if a NameNode may have carried it out without an answer.
          Unreached: if a NameNode does not answer; HdfsCLI then asks the next one.
        """
        at_data_node = "delegation=" in url
        lost, is_next_asked = None, False
        for _ in range(2):
            try:
                answer = super()._request(method, url, verify=self._ca_file, **kwargs)
            except requests.RequestException as error:
                lost = lost_connection(error, url)
                repeatable = method == "GET" or isinstance(lost, ConnectionRefusedError)
                is_next_asked = repeatable and isinstance(error, UNREACHED)
                break
            if answer.status_code != 401 or not _has_cookie(answer.request):
                break
            self._session.cookies.clear()  # expired, or of another service on the host
        # Raised outside the handler: its error contains the token.
        if lost is not None and is_next_asked and not at_data_node:
            raise Unreached(lost)
        if lost is not None:
            raise lost
        if answer.ok or java_class(answer) in NEXT:
            return answer
        raise refusal(answer, self._situation)
