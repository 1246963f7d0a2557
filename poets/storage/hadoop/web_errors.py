"""Translates errors of HDFS's web interface into built-ins.

    lost_connection   no answer: TLS, Kerberos, names, ports, silence
    refusal           an answer, with a Java exception or a web server's page

No text contains a delegation token.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from requests_kerberos.exceptions import (
    KerberosExchangeError,
    MutualAuthenticationError,
)

from poets.errors import NotAuthenticatedError, PoetsError
from poets.kerberos.libkrb5 import get_service_ticket
from poets.kerberos.login import current_login
from poets.storage.hadoop.errors import Situation, of_server, unknown_advice

KDC_TIMEOUT_S = 10  # to find out why there is no ticket
CHECK_THE_PORT = (
    "check whether host and port are those of the NameNode's web interface (9870, with "
    "TLS 9871) or of HttpFS (14000)"
)
TOKEN = re.compile(r"delegation=(?P<token>[^&\s'\"]+)")

_LOST = (  # a DataNode's or HttpFS's own connections
    "ConnectException",
    "ConnectTimeoutException",
    "EOFException",
    "NoRouteToHostException",
    "SocketException",
    "SocketTimeoutException",
)
_MESSAGE = re.compile(
    r"<t[hd]>MESSAGE:</t[hd]><td>(.*?)</td>|<title>(.*?)</title>", re.S
)
_GSS_REASON = re.compile(r"Minor \(-?\d+\): (.*?)(?:, Context:|$)", re.S)


def without_tokens(text: str) -> str:
    """Returns `text` with each delegation token replaced."""
    return TOKEN.sub("delegation=...", text)


def lost_connection(error: requests.RequestException, url: str) -> OSError:
    """Returns the built-in error of a request to `url` that got no answer."""
    sent = urlsplit(str(error.request.url) if error.request is not None else url)
    server = sent.netloc
    causes = list(_causes(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if first(KerberosExchangeError, MutualAuthenticationError):
        return _no_ticket(error, sent.hostname)
    tls = first(ssl.SSLError)
    if first(ssl.SSLCertVerificationError):
        return OSError(
            errno.EPROTO,
            f"no trust in {server} ({tls}); name the cluster's CA file in "
            "POETS_CA_FILE",
        )
    if tls and not first(ssl.SSLEOFError):
        return OSError(errno.EPROTO, f"no TLS with {server} ({tls}); {CHECK_THE_PORT}")
    if first(socket.gaierror):
        return OSError(
            errno.EHOSTUNREACH,
            f"the host of {server} is not known here; correct it, or, if it is a "
            "DataNode that the NameNode named, add it to /etc/hosts or use HttpFS, "
            "which needs no DataNodes",
        )
    if first(ConnectionRefusedError, requests.ConnectTimeout):
        return ConnectionRefusedError(
            errno.ECONNREFUSED,
            f"nothing answers at {server}; check whether it is up, and whether the "
            "port is that of the web interface",
        )
    if first(requests.ReadTimeout):
        return ConnectionError(errno.ETIMEDOUT, f"{server} sent nothing for a minute")
    reason = without_tokens(str(causes[-1])) or type(causes[-1]).__name__
    return ConnectionError(errno.EIO, f"the connection to {server} was lost: {reason}")


def _no_ticket(error: Exception, host: str | None) -> NotAuthenticatedError:
    """Returns the error of a request that could not be signed, with MIT's text."""
    try:
        get_service_ticket(current_login(), f"HTTP/{host}", KDC_TIMEOUT_S)
    except PoetsError as exact:
        return NotAuthenticatedError(errno.EACCES, str(exact))
    match = _GSS_REASON.search(str(error))
    reason = match[1] if match else str(error)
    return NotAuthenticatedError(
        errno.EACCES,
        f"no ticket for HTTP/{host}: {reason}; see keytab, principal and KDC with "
        "`poets doctor`",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def java_class(answer: requests.Response) -> str:
    """Returns the Java class of the server's exception; "" without one."""
    try:
        return answer.json()["RemoteException"]["exception"]
    except (ValueError, KeyError, TypeError):
        return ""


def refusal(answer: requests.Response, situation: Situation) -> OSError:
    """Returns the built-in error of an answer with a status of 400 or more."""
    if name := java_class(answer):
        message = str(answer.json()["RemoteException"].get("message"))
        text = without_tokens(message.partition("\n")[0])
        # How the web interface and HttpFS reject a token.
        if name == "SecurityException" or "$InvalidToken" in text:
            name = "InvalidToken"
        if name in _LOST:
            return ConnectionError(errno.EIO, f"the server lost another: {text}")
        return of_server(name, text, "", situation)
    match = _MESSAGE.search(answer.text)
    said = next(filter(None, match.groups()), "") if match else ""
    said = without_tokens(f"{answer.status_code} {said or answer.reason}")
    server = urlsplit(answer.url).netloc
    if answer.status_code == 401 and not situation.kerberos:
        return NotAuthenticatedError(
            errno.EACCES,
            f"{server} requires authentication ({said}), and nothing here asks for "
            "Kerberos; give --kerberos_principal and --kerberos_keytab, or the "
            "cluster's configuration with --hadoop_conf",
        )
    if answer.status_code in (401, 403):
        return NotAuthenticatedError(
            errno.EACCES,
            f"{server} does not accept us as {situation.who!r} ({said}); "
            f"{unknown_advice(situation, said)}",
        )
    if answer.status_code in (502, 503, 504):
        return ConnectionError(errno.EIO, f"{server} answered {said}")
    return OSError(errno.EPROTO, f"{server} answered {said}; {CHECK_THE_PORT}")
