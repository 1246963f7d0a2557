"""krb5.conf: what is written works, what is read is what MIT reads."""

import subprocess

import pytest

from poets.errors import ConfigError
from poets.kerberos.krb5_conf import krb5_conf_text, realms
from poets.kerberos.libkrb5 import check_conf, get_tgt
from tests.kerberos.failures import failure_of


def read(tmp_path, text):
    path = tmp_path / "krb5.conf"
    path.write_text(text)
    return realms(str(path))


def test_what_is_written_is_read_back(tmp_path):
    text = krb5_conf_text("EXAMPLE.COM", ["kdc.example.com", "10.0.0.7:2500"])
    conf = read(tmp_path, text)
    assert conf.default_realm == "EXAMPLE.COM"
    assert conf.kdcs == {"EXAMPLE.COM": [("kdc.example.com", 88), ("10.0.0.7", 2500)]}
    assert conf.files == [str(tmp_path / "krb5.conf")]


def test_mit_gets_a_ticket_by_what_is_written(kdc, keytab, tmp_path):
    path = tmp_path / "krb5.conf"
    path.write_text(krb5_conf_text("LOCAL", [kdc.address]))
    subprocess.run(
        ["kinit", "-k", "-t", keytab, "-c", f"FILE:{tmp_path / 'cc'}", "alice"],
        env={"KRB5_CONFIG": str(path), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=300,
    )
    assert (tmp_path / "cc").stat().st_size > 0


@pytest.mark.parametrize(
    "realm", ["", "A B", "LOCAL\n", "L}", "[x]", "a=b", "-x", "LOCAL\n[realms]"]
)
def test_what_is_no_realm_is_not_written(realm):
    with pytest.raises(ConfigError, match="invalid Kerberos realm"):
        krb5_conf_text(realm, ["kdc"])


@pytest.mark.parametrize(
    "kdc", ["", "a b", "kdc:", "kdc:x", "kdc:123456", "http://kdc", "kdc\n}", "a/b"]
)
def test_what_is_no_kdc_is_not_written(kdc):
    with pytest.raises(ConfigError, match="invalid KDC address"):
        krb5_conf_text("LOCAL", ["good", kdc])


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("kdc.example.com", ("kdc.example.com", 88)),
        ("kdc:750", ("kdc", 750)),
        ("[::1]:2500", ("::1", 2500)),
        ("[2001:db8::1]", ("2001:db8::1", 88)),
        ("2001:db8::1", ("2001:db8::1", 88)),
        ("tcp/kdc:2500", ("kdc", 2500)),
        ('"quoted:89"', ("quoted", 89)),
    ],
)
def test_the_address_of_a_kdc(value, address, tmp_path):
    conf = read(tmp_path, f"[realms]\n A = {{\n  kdc = {value}\n }}\n")
    assert conf.kdcs == {"A": [address]}


@pytest.mark.parametrize("value", ["https://proxy/KdcProxy", "/run/kdc.sock"])
def test_what_has_no_port_is_no_address(value, tmp_path):
    conf = read(tmp_path, f"[realms]\nA = {{\nkdc = {value}\n}}\n")
    assert conf.kdcs == {"A": []}


def test_only_what_stands_in_its_place_counts(tmp_path):
    conf = read(
        tmp_path,
        "# default_realm = COMMENT\n"
        "; default_realm = COMMENT\n"
        "[logging]\n"
        " default_realm = WRONG\n"
        "[libdefaults]\n"
        " default_realm = FIRST\n"
        " default_realm = SECOND\n"
        " FIRST = {\n"
        "  kdc = wrong\n"
        " }\n"
        "[realms]\n"
        " FIRST = {\n"
        "  auth_to_local_names = {\n"
        "   kdc = nested\n"
        "  }\n"
        "  kdc = one\n"
        "  kdc* = two\n"
        " }*\n"
        " SECOND={\n"
        " kdc=three:90\n"
        " }\n"
        "[capaths]\n"
        " FIRST = {\n"
        "  kdc = wrong\n"
        " }\n",
    )
    assert conf.default_realm == "FIRST"
    assert conf.kdcs == {"FIRST": [("one", 88), ("two", 88)], "SECOND": [("three", 90)]}


def test_includes_are_followed(tmp_path):
    (tmp_path / "conf.d").mkdir()
    for name, realm in (("b", "B"), ("a.conf", "A"), ("c.bak", "C"), (".d.conf", "D")):
        (tmp_path / "conf.d" / name).write_text(f"[realms]\n{realm} = {{\nkdc = k\n}}")
    (tmp_path / "one").write_text("[libdefaults]\ndefault_realm = ONE\n")
    conf = read(
        tmp_path,
        f"include {tmp_path / 'one'}\ninclude {tmp_path / 'absent'}\n"
        f"includedir {tmp_path / 'conf.d'}\n",
    )
    assert conf.default_realm == "ONE"
    assert conf.kdcs == {"A": [("k", 88)], "B": [("k", 88)]}
    names = ["krb5.conf", "one", "conf.d/a.conf", "conf.d/b"]
    assert conf.files == [str(tmp_path / name) for name in names]


def test_several_files_count_in_their_order(tmp_path, monkeypatch):
    for name in ("ONE", "TWO"):
        (tmp_path / name).write_text(f"[libdefaults]\ndefault_realm = {name}\n")
    paths = [str(tmp_path / name) for name in ("absent", "TWO", "ONE")]
    monkeypatch.setenv("KRB5_CONFIG", ":".join(paths))
    assert realms().default_realm == "TWO"
    assert realms().files == paths[1:]


def test_no_file_is_an_empty_configuration(tmp_path):
    conf = realms(str(tmp_path / "absent"))
    assert (conf.files, conf.default_realm, conf.kdcs) == ([], None, {})


def test_a_file_that_includes_itself_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="does one of them include itself?"):
        read(tmp_path, f"include {tmp_path / 'krb5.conf'}\n")


def test_a_file_that_cannot_be_read_is_reported(unprivileged):
    path = unprivileged / "krb5.conf"
    path.touch(mode=0)
    with pytest.raises(ConfigError) as caught:
        realms(str(path))
    assert str(caught.value) == (
        f"cannot read {str(path)!r}: permission denied; make it readable, or set "
        "KRB5_CONFIG"
    )


# What the library refuses.


@pytest.mark.usefixtures("clients")
def test_a_realm_without_a_kdc_is_reported(tensorflow, write_conf):
    write_conf("[libdefaults]\ndefault_realm = LOCAL\ndns_lookup_kdc = false\n")
    text = failure_of(get_tgt, tensorflow, 30)
    assert text.endswith(
        "; name the KDC of realm LOCAL in krb5.conf (KRB5_CONFIG), or by "
        "service.security.kerberos.kdc"
    )


IMPROPER = "mproper format of Kerberos configuration file"  # some write "improper"
MAKE_FOLDER = "make that folder, mount it here too, or remove the line"
MAKE_FILE = "make that file, mount it here too, or remove the line"


@pytest.mark.parametrize(
    ("line", "found", "todo"),
    [
        (
            "includedir TMP/none.d/",
            "includedir 'TMP/none.d/' cannot be read: no such file or directory",
            MAKE_FOLDER,
        ),
        (
            "includedir TMP/krb5.conf",
            "includedir 'TMP/krb5.conf' cannot be read: not a directory",
            MAKE_FOLDER,
        ),
        (
            "include TMP/none",
            "include 'TMP/none' cannot be read: no such file or directory",
            MAKE_FILE,
        ),
        (
            "include",
            "include '' cannot be read: no such file or directory",
            MAKE_FILE,
        ),
        (
            "default_realm LOCAL",
            "'default_realm LOCAL' is not 'name = value'",
            "correct or remove it",
        ),
        (
            "two words = x",
            "'two words = x' is not 'name = value'",
            "correct or remove it",
        ),
        ("}", "'}' closes nothing", "remove it"),
        ("[realms", "'[realms' has no ']'", "write it as [name]"),
        ("x = {\n[y]", "'[y]' is inside 'x'", "close that with }"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.usefixtures("clients")
def test_a_line_that_the_library_refuses_is_named(
    line, found, todo, nested, kdc, tmp_path, environment, tensorflow
):
    path = faulty = tmp_path / "krb5.conf"
    if nested:
        faulty = tmp_path / "more.d" / "more"
        faulty.parent.mkdir()
        path.write_text(f"includedir {faulty.parent}\n{kdc.krb5_conf.read_text()}")
    text = f"# of the site\n[libdefaults]\n{line}\n".replace("TMP", str(tmp_path))
    faulty.write_text(text)
    environment.setenv("KRB5_CONFIG", str(path))
    expected = f"{str(faulty)!r}, line {text.count(chr(10))}: {found}; {todo}"
    expected = expected.replace("TMP", str(tmp_path))
    fault = "could not be read" if line.startswith("include") else IMPROPER
    for text in (failure_of(get_tgt, tensorflow, 30), failure_of(check_conf)):
        assert text.endswith(f"{fault}: {expected}")
