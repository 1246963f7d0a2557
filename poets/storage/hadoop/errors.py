"""What hdfs-native raises, as the built-ins that `poets.errors` describes.

The client tells a server's error as the text of a RuntimeError that begins with its
Java class and ends in a Java stack; this is the one place that looks into it.
"""

import errno
import os
import re
from typing import NamedTuple

from poets.errors import NotAuthenticatedError
from poets.storage.hadoop.user import PROXY_USER, User

_RPC_ERROR = re.compile(r'(?:Fatal)?RPCError\("([^"]+)", "(.*)"\)', re.DOTALL)
_DENIED = re.compile(
    r'user=(?P<user>[^,]+), access=(?P<access>\w+), inode="(?P<path>.*)"'
    r":(?P<owner>[^:]+:[^:]+):(?P<mode>\S+)"
)
_CLOSED = re.compile("RPC listener disconnected|early eof")
_NOT_KNOWN = (  # Java classes, and first words of the client's own errors
    *("SaslException", "InvalidToken", "AuthorizationException", "GSSException"),
    *("GSSAPIError", "SASLError", "NoSASLMechanism", "libgssapi"),
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
    """What helps to explain an error: who asks, whom, and by which configuration.

    With a delegation token, `token_file` is where it was read.
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
      error: of hdfs-native; a Rust panic is no Exception.
      url: of the file or folder that was asked for.
      of_data: whether a DataNode is asked.
    """
    text = str(error)
    line = text.partition("\n")[0]
    if isinstance(error, FileNotFoundError):
        return _not_found(line, url)
    if isinstance(error, FileExistsError):
        return _exists(line, url)
    if isinstance(error, IsADirectoryError) or line.startswith("IsADirectoryError"):
        return _system(errno.EISDIR, url)
    if isinstance(error, OSError):
        return _network(line, url, situation, of_data)
    if match := _RPC_ERROR.match(text):
        java_class = re.split(r"[.$]", match[1])[-1]
        message = match[2].replace('\\"', '"').partition("\\n")[0]
        return of_server(java_class, message, url, situation)
    if any(word in text for word in _NOT_KNOWN):
        return _not_known(line, url, situation)
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
        "no DataNode gives or takes the data: see whether they are up; where they have "
        "addresses of an inner network set dfs.client.use.datanode.hostname=true; "
        "dfs.data.transfer.protection must be the cluster's, here it is "
        + (repr(protection) if protection else "not set")
    )


def _system(number: int, url: str) -> OSError:
    return OSError(number, os.strerror(number), url)


def _not_found(line: str, url: str) -> OSError:
    if "Path is not a file" in line:
        return _system(errno.EISDIR, url)
    if "arent" in line:  # "Parent directory ..", "rename destination parent .."
        text = "the folder that is to hold it does not exist; make it first"
        return FileNotFoundError(errno.ENOENT, text, url)
    return _system(errno.ENOENT, url)


def _exists(line: str, url: str) -> OSError:
    if "already exists as a directory" in line:
        return _system(errno.EISDIR, url)
    if "is not a directory" in line.lower():
        return _system(errno.ENOTDIR, url)
    return _system(errno.EEXIST, url)


def _network(line: str, url: str, situation: Situation, of_data: bool) -> OSError:
    at = situation.authority
    if of_data:
        text = f"a connection broke ({_shortened(line.lower())}); "
        return ConnectionError(errno.EIO, text + datanode_advice(situation), url)
    if "refused" in line:
        text = (
            f"nobody listens at {at}; see whether the NameNode is up and this is its "
            "RPC address (port 8020 as a rule; 9870 is the web's)"
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
    """Returns whether a server closed the connection, rather than that it broke."""
    return isinstance(error, OSError) and bool(_CLOSED.search(str(error)))


def closed_text(error: BaseException, situation: Situation) -> str:
    """Returns why a NameNode closes each connection at once, and what to do."""
    text = f"{situation.authority} closes each connection at once"
    # The client says "early eof" until it is authenticated, and then this. It has read
    # the reason by then and does not tell it.
    if situation.kerberos and "listener disconnected" in str(error):
        if situation.who.acts_for:
            return _may_not_act(situation)
        return f"{text}, although it knows {situation.who!r}; {_ASK_TO_BE_ALLOWED}"
    return f"{text}; {closed_advice(situation)}"


def closed_advice(situation: Situation) -> str:
    """Returns what to do where a NameNode closes each connection at once."""
    sources = ", ".join(situation.sources) or "no configuration"
    if not situation.kerberos:
        return (
            "a secure NameNode does that to clients that do not authenticate: "
            f"hadoop.security.authentication is not 'kerberos' in {sources}; give the "
            "cluster's configuration by --hadoop_conf"
        )
    return (
        f"see whether {situation.authority} is the NameNode's RPC address (port 8020 "
        "as a rule; 9870 is the web's), and whether the cluster knows "
        f"{situation.who!r} (hadoop.security.auth_to_local)"
    )


def of_server(java_class: str, message: str, url: str, situation: Situation) -> OSError:
    """Returns the built-in for an exception of the server, by its class's last name."""
    if java_class == "FileNotFoundException":
        return _not_found(message, url)
    if java_class == "FileAlreadyExistsException":
        return _exists(message, url)
    if "is not a directory" in message or java_class == "ParentNotDirectoryException":
        return _system(errno.ENOTDIR, url)
    if java_class in _NOT_KNOWN or "authentication is not enabled" in message:
        return _not_known(f"{java_class}: {message}", url, situation)
    if java_class == "AccessControlException":
        return PermissionError(errno.EACCES, _denied(message, situation), url)
    if java_class in _NOT_NOW:
        return ConnectionRefusedError(errno.EAGAIN, _not_now(java_class, message), url)
    if java_class == "PathIsNotEmptyDirectoryException":
        return _system(errno.ENOTEMPTY, url)
    if java_class.endswith("QuotaExceededException"):
        text = f"{message}; delete something there, or ask for a larger quota"
        return OSError(errno.EDQUOT, text, url)
    if java_class in ("BlockMissingException", "CannotObtainBlockLengthException"):
        return OSError(errno.EIO, f"{_shortened(message)}; {_LOST_BLOCKS}", url)
    if java_class == "InvalidPathException":
        text = "HDFS has no such names: ':' and '//' are not allowed; name another path"
        return OSError(errno.EINVAL, text, url)
    if "must both be directories" in message:
        text = "a file and a folder do not take each other's place"
        return FileExistsError(errno.EEXIST, text, url)
    if "under source" in message:
        text = "a folder does not move into itself"
        return OSError(errno.EINVAL, text, url)
    if "is not empty" in message:
        return _system(errno.ENOTEMPTY, url)
    if "could only be written to" in message:
        text = f"{_shortened(message)}; {datanode_advice(situation)}"
        return ConnectionRefusedError(errno.EAGAIN, text, url)
    return OSError(errno.EIO, f"the server says {java_class}: {message}", url)


def _not_now(java_class: str, message: str) -> str:
    if "safe mode" in message or java_class == "SafeModeException":
        return (
            "the NameNode is in safe mode: it waits for its DataNodes, or was told to "
            "by `hdfs dfsadmin -safemode enter`; wait, or leave it"
        )
    return f"the NameNode is not ready ({java_class}: {_shortened(message)}); wait"


def _denied(message: str, situation: Situation) -> str:
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


def _not_known(line: str, url: str, situation: Situation) -> OSError:
    if situation.who.acts_for and "impersonate" in line:
        text = _may_not_act(situation)
    elif "libgssapi" in line:
        text = (
            "the library libgssapi_krb5.so.2 is missing; install libgssapi-krb5-2 "
            "(Debian) or krb5-libs (Red Hat)"
        )
    else:
        # GSSAPIError(.., number, "No credentials ..: No credentials cache found")
        quoted = re.findall(r'"([^"]*)"', line)
        said = quoted[-1] if line.startswith("GSSAPIError") and quoted else line
        text = (
            f"{situation.authority} does not take us for {situation.who!r}: "
            f"{_shortened(said)}; {unknown_advice(situation, said)}"
        )
    return NotAuthenticatedError(errno.EACCES, text, url)


def unknown_advice(situation: Situation, said: str) -> str:
    """Returns what to do where a server, with these words, refuses who we are."""
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


def _shortened(text: str, length: int = 300) -> str:
    text = text.partition("\\n")[0]
    return text if len(text) <= length else text[: length - 3] + "..."
