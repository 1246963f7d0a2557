"""Hadoop's token files, in both formats: what is shown of them, what is wrong."""

import base64

import pytest

from poets.errors import ConfigError
from poets.kerberos.tokens import RPC_KIND, WEB_KINDS, Token, read_tokens
from tests.tokens import made_up, protobuf, writable

TOKENS = [
    made_up("10.0.0.1:8020"),
    made_up("ha-hdfs:flowers"),
    made_up("10.0.0.1:9870", WEB_KINDS[0]),
    Token("kms-dt", "10.0.0.2:9600", b"of another format", b"p" * 300),
]
FROM_HADOOP = {  # `hdfs fetchdt` 3.4.2, a cluster that is gone
    "java": (
        "SERUUwABDzEyNy4wLjAuMToxMTY0MR8AC2FsaWNlQExPQ0FMAACKAaIkX7K8igGiSGw2vA"
        "ECFEBGXAF7SKs8ya6hvNIDB0RkdaXQFUhERlNfREVMRUdBVElPTl9UT0tFTg8xMjcuMC4w"
        "LjE6MTE2NDEA"
    ),
    "protobuf": (
        "SERUUwF3CnUKDzEyNy4wLjAuMToxMTY0MRJiCiIAC2FsaWNlQExPQ0FMA2JvYgCKAaIkX/"
        "nwigGiSGx98AUCEhQMqOTwhX7oo1W9IFNEe3QKkN9UNxoVSERGU19ERUxFR0FUSU9OX1RP"
        "S0VOIg8xMjcuMC4wLjE6MTE2NDE="
    ),
}


@pytest.fixture
def read(tmp_path):
    """Reads a file of these bytes."""

    def read(data: bytes) -> list[Token]:
        (tmp_path / "tokens").write_bytes(data)
        return read_tokens(str(tmp_path / "tokens"))

    return read


@pytest.mark.parametrize("form", [writable, protobuf])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_was_written_is_read(read, form, count):
    assert read(form(TOKENS[:count])) == TOKENS[:count]


@pytest.mark.parametrize(("form", "renewer"), [("java", ""), ("protobuf", "bob")])
def test_hadoop_s_own_files_are_read(read, form, renewer):
    (token,) = read(base64.b64decode(FROM_HADOOP[form]))
    assert (token.kind, token.service) == (RPC_KIND, "127.0.0.1:11641")
    assert (token.owner, token.renewer, token.real_user) == ("alice@LOCAL", renewer, "")
    assert token.ends_s - token.issued_s == 7 * 86_400
    assert len(token.password) == 20


@pytest.mark.parametrize("form", [writable, protobuf])
def test_a_file_cut_anywhere_is_refused_without_a_secret(read, form):
    whole = form(TOKENS)
    for length in range(len(whole) - 1):  # the last byte counts secrets of other kinds
        with pytest.raises(ConfigError) as caught:
            read(whole[:length])
        assert " is not a file of delegation tokens: it " in str(caught.value)
        assert "; get new tokens (hdfs fetchdt), or unset " in str(caught.value)
        assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "it has 0 bytes"),
        (b"\5\2 a keytab", "it does not begin with 'HDTS'"),
        (b"HDTS\2", "its format is number 2, not 0 or 1"),
        (b"HDTS\0\1\x88" + b"\xff" * 7, "it ends too early, inside a token"),
        (b"HDTS\1" + b"\xff" * 20, "a number in it does not end"),
        (b"HDTS\1\2\x08\1", "a field of wire type 0 is in it"),
        (bytes(10_000_001), "it has more than 10000000 bytes"),
    ],
)
def test_another_file_is_refused(read, data, found):
    with pytest.raises(
        ConfigError, match=f"is not a file of delegation tokens: {found}"
    ):
        read(data)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_tokens(str(tmp_path / "none"))
    assert str(caught.value) == (
        f"cannot read delegation tokens from '{tmp_path}/none': no such file or "
        "directory; get new tokens (hdfs fetchdt), or unset "
        "HADOOP_TOKEN_FILE_LOCATION"
    )


def test_a_secret_is_not_shown():
    shown = repr(TOKENS)
    assert "alice@LOCAL" in shown
    assert "password" not in shown
    assert "identifier" not in shown


@pytest.mark.parametrize(("ends_in_s", "ended"), [(-1, True), (59, True), (90, False)])
def test_a_token_ends_a_minute_before_its_max_date(ends_in_s, ended):
    assert made_up("host:8020", ends_in_s=ends_in_s).has_ended == ended


def test_the_text_for_the_web_is_the_one_of_hadoop(read):
    (token,) = read(base64.b64decode(FROM_HADOOP["protobuf"]))
    printed = (  # `hadoop dtutil print`; the service at its end does not count
        "IgALYWxpY2VATE9DQUwDYm9iAIoBoiRf-fCKAaJIbH3wBQIUDKjk8IV-6KNVvSBTRHt0CpDfVDcV"
        "SERGU19ERUxFR0FUSU9OX1RPS0VODzEyNy4wLjAuMToxMTY0MQ"
    )
    data = base64.urlsafe_b64decode(
        token.url_text() + "=" * (-len(token.url_text()) % 4)
    )
    whole = base64.urlsafe_b64decode(printed + "=" * (-len(printed) % 4))
    assert data == whole.removesuffix(b"\x0f127.0.0.1:11641") + b"\0"
