"""Translates errors of hdfs-native into the built-ins that `poets.errors` describes.

The client reports a server's error as a RuntimeError whose text begins with a Java
class and ends with a Java stack trace. Only this module parses it.
"""

import errno
import re
from collections.abc import Callable
from typing import NamedTuple

from poets.errors import NotAuthenticatedError
from poets.storage import system_error
from poets.storage.hadoop.user import PROXY_USER, User

_RPC_ERROR = re.compile(r'(?:Fatal)?RPCError\("([^"]+)", "(.*)"\)', re.DOTALL)
_DENIED = re.compile(
    r'user=(?P<user>[^,]+), access=(?P<access>\w+), inode="(?P<path>.*)"'
    r":(?P<owner>[^:]+:[^:]+):(?P<mode>\S+)"
)
_CLOSED = re.compile("RPC listener disconnected|early eof|[Bb]roken pipe")
_UNAUTHENTICATED = (  # Java classes, and first words of the client's own errors
    "SaslException",
    "InvalidToken",
    "AuthorizationException",
    "GSSException",
    "GSSAPIError",
    "SASLError",
    "NoSASLMechanism",
    "libgssapi",
)
_ASK_TO_BE_ALLOWED = (
    "ask its administrators to allow this user (security.client.protocol.acl in "
    "hadoop-policy.xml)"
)
_NOT_NOW = ("SafeModeException", "RetriableException", "StandbyException")
_LOST_BLOCKS = (
    "`hdfs fsck` on the file shows whether its blocks are lost: then restore it or "
    "take it out of the folder"
)
_ACCESS = {
    "READ": "read",
    "WRITE": "write in",
    "EXECUTE": "enter",
    "READ_EXECUTE": "list",
    "READ_WRITE": "read and write in",
    "WRITE_EXECUTE": "write in",
    "ALL": "read and write in",
}


class Situation(NamedTuple):
    """Context for explaining an error: the user, the server and the configuration.

    `token_file` is the file of the delegation token, if one is used.
    """

    who: User
    authority: str
    kerberos: bool
    protection: str | None
    sources: tuple[str, ...]
    token_file: str | None = None


def translated(
    error: BaseException, url: str, situation: Situation, of_data: bool = False
) -> OSError:
    """Returns the built-in for what the client raised.

    Args:
      error: of hdfs-native; a Rust panic is not an Exception.
      url: of the requested file or folder.
      of_data: whether the request went to a DataNode.
    """
    text = str(error)
    line = text.partition("\n")[0]
    if isinstance(error, FileNotFoundError):
        return _not_found(line, url)
    if isinstance(error, FileExistsError):
        return _exists(line, url)
    if isinstance(error, IsADirectoryError) or line.startswith("IsADirectoryError"):
        return system_error(errno.EISDIR, url)
    if isinstance(error, OSError):
        return _network(line, url, situation, of_data)
    if match := _RPC_ERROR.match(text):
        java_class = re.split(r"[.$]", match[1])[-1]
        message = match[2].replace('\\"', '"').partition("\\n")[0]
        return of_server(java_class, message, url, situation)
    if any(word in text for word in _UNAUTHENTICATED):
        return NotAuthenticatedError(errno.EACCES, _not_known(line, situation), url)
    if text.startswith(("DataTransferError", "ChecksumError", "BlocksNotFound")):
        advice = f"{datanode_advice(situation)}; {_LOST_BLOCKS}"
        return ConnectionError(errno.EIO, f"{_shortened(line)}; {advice}", url)
    if type(error).__name__ == "PanicException":
        return OSError(errno.EINVAL, f"the client failed: {line}", url)
    return OSError(errno.EIO, f"the client failed: {_shortened(line)}", url)


def datanode_advice(situation: Situation) -> str:
    """Returns what to do if a DataNode cannot be reached or refuses."""
    protection = situation.protection
    return (
        "no DataNode sends or accepts the data: check whether they are up; where they "
        "have addresses of an inner network set dfs.client.use.datanode.hostname=true; "
        "dfs.data.transfer.protection must be the cluster's, here it is "
        + (repr(protection) if protection else "not set")
    )


def _not_found(line: str, url: str) -> OSError:
    if "Path is not a file" in line:
        return system_error(errno.EISDIR, url)
    if "arent" in line:  # "Parent directory ..", "rename destination parent .."
        text = "its parent folder does not exist; create it first"
        return FileNotFoundError(errno.ENOENT, text, url)
    return system_error(errno.ENOENT, url)


def _exists(line: str, url: str) -> OSError:
    if "already exists as a directory" in line:
        return system_error(errno.EISDIR, url)
    if "is not a directory" in line.lower():
        return system_error(errno.ENOTDIR, url)
    return system_error(errno.EEXIST, url)


def _network(line: str, url: str, situation: Situation, of_data: bool) -> OSError:
    at = situation.authority
    if of_data:
        text = f"a connection broke ({_shortened(line.lower())}); "
        return ConnectionError(errno.EIO, text + datanode_advice(situation), url)
    if "refused" in line:
        text = (
            f"nothing listens at {at}; check whether the NameNode is up and this is "
            "its RPC address (usually port 8020; 9870 is the web's)"
        )
        return ConnectionRefusedError(errno.ECONNREFUSED, text, url)
    if "failed to lookup address" in line:
        text = (
            f"the host name of {at} is not known ({line.rpartition(': ')[2].lower()})"
        )
        if "emporary" in line:
            return ConnectionRefusedError(errno.EHOSTUNREACH, text, url)
        return OSError(
            errno.EHOSTUNREACH, f"{text}; see the URL and the configuration", url
        )
    text = f"the connection to {at} broke ({_shortened(line.lower())})"
    if _CLOSED.search(line):
        text += f"; {closed_advice(situation)}"
    return ConnectionError(errno.ECONNRESET, text, url)


def is_closed_at_once(error: BaseException) -> bool:
    """Returns whether a server closed the connection, rather than losing it."""
    return isinstance(error, OSError) and bool(_CLOSED.search(str(error)))


def closed_text(error: BaseException, situation: Situation) -> str:
    """Returns why a NameNode closes each connection at once, and what to do."""
    text = f"{situation.authority} closes each connection at once"
    # The client reports "early eof" until it is authenticated, and then this. It has
    # read the server's reason by then, but does not report it.
    if situation.kerberos and "listener disconnected" in str(error):
        if situation.who.acts_for:
            return _may_not_act(situation)
        return f"{text}, although it knows {situation.who!r}; {_ASK_TO_BE_ALLOWED}"
    return f"{text}; {closed_advice(situation)}"


def closed_advice(situation: Situation) -> str:
    """Returns what to do if a NameNode closes each connection at once."""
    sources = ", ".join(situation.sources) or "no configuration"
    if not situation.kerberos:
        return (
            "a secure NameNode does that to clients that do not authenticate: "
            f"hadoop.security.authentication is not 'kerberos' in {sources}; give the "
            "cluster's configuration with --hadoop_conf"
        )
    return (
        f"check whether {situation.authority} is the NameNode's RPC address (usually "
        "port 8020; 9870 is the web's), and whether the cluster knows "
        f"{situation.who!r} (hadoop.security.auth_to_local)"
    )


def _not_now(java_class: str, message: str, situation: Situation) -> str:
    if "safe mode" in message or java_class == "SafeModeException":
        return (
            "the NameNode is in safe mode: it waits for its DataNodes, or somebody ran "
            "`hdfs dfsadmin -safemode enter`; wait, or leave it"
        )
    return f"the NameNode is not ready ({java_class}: {_shortened(message)}); wait"


def _denied(java_class: str, message: str, situation: Situation) -> str:
    match = _DENIED.search(message)
    if not match:
        return f"{_shortened(message)} (we are {situation.who!r}); ask the owner"
    return (
        f"{match['user']!r} may not {_ACCESS.get(match['access'], match['access'])} "
        f"{match['path']!r}, which belongs to {match['owner']} with {match['mode']}; "
        f"ask its owner, or name another folder (we are {situation.who!r})"
    )


def _may_not_act(situation: Situation) -> str:
    who = situation.who
    key = f"hadoop.proxyuser.{who.short_name}"
    return (
        f"{situation.authority} does not let {who.name!r} act for {who.acts_for!r} "
        f"({PROXY_USER}); unset {PROXY_USER}, or have the cluster allow it by "
        f"{key}.hosts and {key}.users or .groups (HttpFS: httpfs.proxyuser...)"
    )


def _not_known(line: str, situation: Situation) -> str:
    if situation.who.acts_for and "impersonate" in line:
        return _may_not_act(situation)
    if "libgssapi" in line:
        return (
            "the library libgssapi_krb5.so.2 is missing; install libgssapi-krb5-2 "
            "(Debian) or krb5-libs (Red Hat)"
        )
    # GSSAPIError(.., number, "No credentials ..: No credentials cache found")
    quoted = re.findall(r'"([^"]*)"', line)
    said = quoted[-1] if line.startswith("GSSAPIError") and quoted else line
    return (
        f"{situation.authority} does not accept us as {situation.who!r}: "
        f"{_shortened(said)}; {unknown_advice(situation, said)}"
    )


def unknown_advice(situation: Situation, said: str) -> str:
    """Returns what to do if a server rejects our identity with these words."""
    if re.search("[Cc]lock skew|not yet valid", said):
        return "set this machine's clock, or the server's: they differ by minutes"
    if "not authorized for protocol" in said:
        return _ASK_TO_BE_ALLOWED
    if not situation.token_file:
        return "see keytab, principal and KDC with `poets doctor`"
    return (
        f"its delegation token in {situation.token_file!r} was cancelled, was not "
        "renewed in time, or is of another cluster: get a new one (hdfs fetchdt), or "
        "give a keytab (--kerberos_principal, --kerberos_keytab)"
    )


def _shortened(text: str) -> str:
    text = text.partition("\\n")[0]
    return text if len(text) <= 300 else text[:297] + "..."


class _Answer(NamedTuple):
    """A kind of exception of a server.

    Attributes:
      number: errno of the built-in error.
      classes: the last names of its Java classes.
      words: identify others of the kind by their message; "" for none.
      error: the built-in; OSError chooses it by the errno.
      text: its text, with {message} for the server's and {datanodes} for what to do; or
        makes it from the Java class, the message and the situation; "" for the system's
        text of the errno.
    """

    number: int
    classes: tuple[str, ...] = ()
    words: str = ""
    error: type[OSError] = OSError
    text: str | Callable[[str, str, Situation], str] = ""


_ANSWERS = (  # the first match counts
    _Answer(errno.ENOTDIR, ("ParentNotDirectoryException",), "is not a directory"),
    _Answer(
        errno.EACCES,
        _UNAUTHENTICATED,
        "authentication is not enabled",
        NotAuthenticatedError,
        lambda name, message, here: _not_known(f"{name}: {message}", here),
    ),
    _Answer(errno.EACCES, ("AccessControlException",), "", PermissionError, _denied),
    _Answer(errno.EAGAIN, _NOT_NOW, "", ConnectionRefusedError, _not_now),
    _Answer(errno.ENOTEMPTY, ("PathIsNotEmptyDirectoryException",), "is not empty"),
    _Answer(
        errno.EDQUOT,
        (
            "NSQuotaExceededException",
            "DSQuotaExceededException",
            "QuotaByStorageTypeExceededException",
            "QuotaExceededException",
        ),
        text="{message}; delete something there, or ask for a larger quota",
    ),
    _Answer(
        errno.EIO,
        ("BlockMissingException", "CannotObtainBlockLengthException"),
        text="{message}; " + _LOST_BLOCKS,
    ),
    _Answer(
        errno.EINVAL,
        ("InvalidPathException",),
        text="HDFS has no such names: ':' and '//' are not allowed; name another path",
    ),
    _Answer(
        errno.EEXIST,
        words="must both be directories",
        text="a file and a folder cannot replace each other",
    ),
    _Answer(
        errno.EINVAL, words="under source", text="a folder does not move into itself"
    ),
    _Answer(
        errno.EAGAIN,
        words="could only be written to",
        error=ConnectionRefusedError,
        text="{message}; {datanodes}",
    ),
    _Answer(  # a server that lost its own connection to another one, as a DataNode's
        errno.EAGAIN,
        words="DestHost:destPort",
        error=ConnectionError,
        text="{message}; check whether that server is up",
    ),
)


def of_server(java_class: str, message: str, url: str, situation: Situation) -> OSError:
    """Returns the built-in for a server's exception, given its class's last name."""
    if java_class == "FileNotFoundException":
        return _not_found(message, url)
    if java_class == "FileAlreadyExistsException":
        return _exists(message, url)
    for kind in _ANSWERS:
        if java_class in kind.classes or (kind.words and kind.words in message):
            if not kind.text:
                return system_error(kind.number, url)
            if callable(kind.text):
                text = kind.text(java_class, message, situation)
            else:
                advice = datanode_advice(situation)
                text = kind.text.format(message=_shortened(message), datanodes=advice)
            return kind.error(kind.number, text, url)
    return OSError(errno.EIO, f"the server says {java_class}: {message}", url)
