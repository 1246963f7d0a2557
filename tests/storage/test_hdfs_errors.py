"""What hdfs-native raises, and what a caller gets; the texts are observed ones."""

import errno

import pytest

from poets.errors import NotAuthenticatedError
from poets.storage.hadoop.errors import (
    Situation,
    closed_text,
    is_closed_at_once,
    translated,
)
from poets.storage.hadoop.user import User

URL = "hdfs://there:8020/graph"
STACK = r"\n\tat org.apache.hadoop.hdfs.server.namenode.FSDirectory(FSDirectory.java:7)"
ME = User("me@LOCAL")
SITUATION = Situation(ME, "there:8020", True, "privacy", ("core-site.xml",))


class PanicException(BaseException):
    """As Rust's panics arrive."""


def rpc(java_class: str, message: str) -> RuntimeError:
    return RuntimeError(f'RPCError("{java_class}", "{message}{STACK}\\n")')


HADOOP = "org.apache.hadoop"
NAMENODE = f"{HADOOP}.hdfs.server.namenode"
DENIED = (
    r"Permission denied: user=alice, access={}, "
    r"inode=\"/a \\\"b\":tensorflow:us:drwxr-xr-x"
)


@pytest.mark.parametrize(
    ("error", "kind", "number", "text"),
    [
        (
            FileNotFoundError("File does not exist: /a\n\tat org.apache"),
            *(FileNotFoundError, errno.ENOENT, "No such file or directory"),
        ),
        (
            FileNotFoundError("Path is not a file: /a\n\tat org.apache"),
            *(IsADirectoryError, errno.EISDIR, "Is a directory"),
        ),
        (
            FileNotFoundError("rename destination parent /a/b not found."),
            *(
                FileNotFoundError,
                errno.ENOENT,
                "its parent folder does not exist",
            ),
        ),
        (
            FileExistsError("/a for client 127.0.0.1 already exists\n\tat org"),
            *(FileExistsError, errno.EEXIST, "File exists"),
        ),
        (
            FileExistsError("/a already exists as a directory\n\tat org"),
            *(IsADirectoryError, errno.EISDIR, "Is a directory"),
        ),
        (
            FileExistsError("Path is not a directory: /a"),
            *(NotADirectoryError, errno.ENOTDIR, "Not a directory"),
        ),
        (
            rpc(f"{HADOOP}.security.AccessControlException", DENIED.format("WRITE")),
            *(PermissionError, errno.EACCES, "'alice' may not write in '/a "),
        ),
        (
            rpc(f"{HADOOP}.security.AccessControlException", "Superuser is required"),
            *(
                PermissionError,
                errno.EACCES,
                "Superuser is required (we are 'me@LOCAL'",
            ),
        ),
        (
            rpc(f"{HADOOP}.security.AccessControlException", "/a (is not a directory)"),
            *(NotADirectoryError, errno.ENOTDIR, "Not a directory"),
        ),
        (
            rpc(
                f"{HADOOP}.security.AccessControlException",
                "SIMPLE authentication is not enabled.  Available:[TOKEN, KERBEROS]",
            ),
            *(NotAuthenticatedError, errno.EACCES, "there:8020 does not accept us as"),
        ),
        (
            rpc(f"{HADOOP}.security.token.SecretManager$InvalidToken", "token expired"),
            *(NotAuthenticatedError, errno.EACCES, "there:8020 does not accept us as"),
        ),
        (
            RuntimeError(
                'GSSAPIError(GssMajorCodes { raw: "0x00070000" }, 2529639107, '
                '"No credentials were supplied: Ticket expired")'
            ),
            NotAuthenticatedError,
            errno.EACCES,
            "there:8020 does not accept us as 'me@LOCAL': No credentials were "
            "supplied: Ticket expired; see keytab",
        ),
        (
            RuntimeError("Failed to load libgssapi_krb"),
            *(
                NotAuthenticatedError,
                errno.EACCES,
                "the library libgssapi_krb5.so.2 is",
            ),
        ),
        (
            rpc(f"{NAMENODE}.SafeModeException", "Cannot create file/a. Name node is"),
            *(ConnectionRefusedError, errno.EAGAIN, "the NameNode is in safe mode"),
        ),
        (
            rpc(f"{HADOOP}.ipc.RetriableException", "NameNode still not started"),
            *(ConnectionRefusedError, errno.EAGAIN, "the NameNode is not ready (Retri"),
        ),
        (
            rpc(f"{HADOOP}.ipc.StandbyException", "Operation category READ is not"),
            *(ConnectionRefusedError, errno.EAGAIN, "the NameNode is not ready (Stand"),
        ),
        (
            rpc(f"{HADOOP}.fs.PathIsNotEmptyDirectoryException", "/a is non empty"),
            *(OSError, errno.ENOTEMPTY, "Directory not empty"),
        ),
        (
            rpc("java.io.IOException", "Source /a and destination /b must both be dir"),
            *(OSError, errno.EIO, "the server says IOException: Source /a"),
        ),
        (
            rpc(
                "java.io.IOException",
                "File /a could only be written to 0 of the 1 minReplication nodes.",
            ),
            *(
                ConnectionRefusedError,
                errno.EAGAIN,
                "File /a could only be written to 0",
            ),
        ),
        (
            rpc(
                "java.io.IOException",
                "DestHost:destPort localhost:8020 , LocalHost:localPort dn/10.0.0.2:0. "
                "Failed on local exception: java.io.IOException: Connection reset",
            ),
            *(ConnectionError, errno.EAGAIN, "DestHost:destPort localhost:8020"),
        ),
        (
            RuntimeError('DataTransferError("All DataNodes failed: [DatanodeInfo")'),
            *(ConnectionError, errno.EIO, 'DataTransferError("All DataNodes failed'),
        ),
        (
            OSError("Connection refused (os error 111)"),
            *(
                ConnectionRefusedError,
                errno.ECONNREFUSED,
                "nothing listens at there:8020",
            ),
        ),
        (
            OSError("failed to lookup address information: Name or service not known"),
            *(OSError, errno.EHOSTUNREACH, "the host name of there:8020 is not known"),
        ),
        (
            OSError(
                "failed to lookup address information: "
                "Temporary failure in name resolution"
            ),
            *(
                ConnectionRefusedError,
                errno.EHOSTUNREACH,
                "the host name of there:8020",
            ),
        ),
        (
            OSError("Broken pipe (os error 32)"),
            *(ConnectionError, errno.ECONNRESET, "the connection to there:8020 broke"),
        ),
        (
            PanicException("Cannot read past end of the file"),
            *(OSError, errno.EINVAL, "the client failed: Cannot read past end"),
        ),
        (
            RuntimeError('InvalidArgument("nonsense")'),
            *(OSError, errno.EIO, 'the client failed: InvalidArgument("nonsense")'),
        ),
    ],
)
def test_what_the_client_raises_becomes_what_a_caller_expects(
    error, kind, number, text
):
    found = translated(error, URL, SITUATION)
    assert type(found) is kind
    assert (found.errno, found.filename) == (number, URL)
    assert found.strerror.startswith(text)
    assert "\n" not in found.strerror
    assert r"\n" not in found.strerror
    assert "FSDirectory" not in found.strerror


@pytest.mark.parametrize(
    ("access", "verb"),
    [("READ", "read"), ("READ_EXECUTE", "list"), ("EXECUTE", "enter")],
)
def test_what_is_forbidden_is_said_in_words(access, verb):
    error = rpc(f"{HADOOP}.security.AccessControlException", DENIED.format(access))
    found = translated(error, URL, SITUATION).strerror
    assert found.startswith(f"'alice' may not {verb} '/a ")
    assert "which belongs to tensorflow:us with drwxr-xr-x; ask its owner" in found


def test_a_lost_datanode_is_no_lost_namenode():
    error = OSError("Connection refused (os error 111)")
    found = translated(error, URL, SITUATION, of_data=True)
    assert type(found) is ConnectionError
    assert "here it is 'privacy'" in found.strerror
    unset = SITUATION._replace(protection=None)
    assert "here it is not set" in translated(error, URL, unset, of_data=True).strerror


@pytest.mark.parametrize("line", ["RPC listener disconnected", "early eof"])
def test_a_connection_that_is_closed_at_once_has_two_likely_causes(line):
    assert is_closed_at_once(OSError(line))
    assert not is_closed_at_once(RuntimeError(line))
    found = translated(OSError(line), URL, SITUATION)
    assert "knows 'me@LOCAL' (hadoop.security.auth_to_local)" in found.strerror
    found = translated(OSError(line), URL, SITUATION._replace(kerberos=False))
    assert "is not 'kerberos' in core-site.xml; give the cluster's" in found.strerror


@pytest.mark.parametrize(
    ("line", "acts_for", "kerberos", "found", "todo"),
    [
        ("early eof", "", True, "closes each connection at once", "the NameNode's RPC"),
        ("early eof", "bob", True, "closes each connection at once", "knows 'me@LOCAL"),
        (
            "early eof",
            "",
            False,
            "closes each connection at once",
            "with --hadoop_conf",
        ),
        (
            "RPC listener disconnected",
            *("", True, "although it knows 'me@LOCAL'", "security.client.protocol.acl"),
        ),
        (
            "RPC listener disconnected",
            *(
                "bob",
                True,
                "does not let 'me@LOCAL' act for 'bob'",
                "proxyuser.me.hosts",
            ),
        ),
        (
            "RPC listener disconnected",
            *("", False, "closes each connection at once", "with --hadoop_conf"),
        ),
    ],
)
def test_when_a_namenode_closes_says_why(line, acts_for, kerberos, found, todo):
    situation = SITUATION._replace(who=User("me@LOCAL", acts_for), kerberos=kerberos)
    halves = closed_text(OSError(line), situation).partition("; ")
    assert halves[0].startswith("there:8020 ")
    assert found in halves[0]
    assert todo in halves[2]


def test_an_access_list_that_lacks_the_user_is_named():
    said = "User me (auth:TOKEN) is not authorized for protocol interface x: denied"
    error = rpc(f"{HADOOP}.security.authorize.AuthorizationException", said)
    found = translated(error, URL, SITUATION).strerror
    assert f"{said}; ask its administrators to allow this user" in found
