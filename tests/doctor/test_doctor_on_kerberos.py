"""`poets doctor` at a real KDC: what is wrong with keytab, ticket, KDC or clock.

Each case has one thing wrong. The step that fails, who we are, what was found and what
to do are reported within seconds.
"""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.doctor.ended import INPUT, assert_failed, steps_of


@pytest.fixture
def ticket_cache(hdfs, tmp_path):
    """Makes a ticket cache by kinit; returns the environment that has it alone."""

    def kinit(*words: str) -> dict[str, str]:
        cache = f"FILE:{tmp_path / 'cache'}"
        variables = {"KRB5_CONFIG": str(hdfs.krb5_conf), "KRB5CCNAME": cache}
        keytab = str(hdfs.keytab("tensorflow"))
        subprocess.run(
            ["kinit", *words, "-k", "-t", keytab, "tensorflow@LOCAL"],
            env=variables | {"PATH": "/usr/bin:/bin"},
            check=True,
            timeout=300,
        )
        return variables | {"POETS_HADOOP_CONF": str(hdfs.conf_dir)}

    return kinit


def test_a_principal_that_the_kdc_does_not_know(doctor, hdfs):
    environment = hdfs.environment("leaver")
    hdfs.kdc.kadmin("delprinc", "-force", "leaver@LOCAL")
    ended = doctor(environment)
    assert_failed(
        ended,
        "ticket",
        "as leaver@LOCAL",
        "Client 'leaver@LOCAL' not found in Kerberos database",
        f"the KDC {hdfs.kdc.address} of realm LOCAL does not know leaver@LOCAL",
    )


def test_the_keytab_of_another_principal(doctor, hdfs, environment):
    keytab = hdfs.keytab("alice")
    ended = doctor(environment | {"KRB5_CLIENT_KTNAME": str(keytab)})
    assert_failed(
        ended,
        "keytab",
        f"{str(keytab)!r} has no key of 'tensorflow@LOCAL', but of alice@LOCAL",
        "give its own keytab",
    )


def test_a_keytab_older_than_the_account_s_key(doctor, hdfs, tmp_path):
    environment = hdfs.environment("stale")
    old = shutil.copy(environment["KRB5_CLIENT_KTNAME"], tmp_path / "old.keytab")
    hdfs.kdc.kadmin("cpw", "-randkey", "stale@LOCAL")
    ended = doctor(environment | {"KRB5_CLIENT_KTNAME": str(old)})
    assert_failed(
        ended,
        "ticket",
        "as stale@LOCAL",
        f"the key of stale@LOCAL in {old} (version 1) is not the KDC's",
        "export the keytab again",
    )


@pytest.mark.parametrize("shift", ["-1h", "+1h"])
def test_a_clock_that_is_wrong(doctor, hdfs, environment, tmp_path, require, shift):
    require("faketime", shutil.which("faketime"))
    path = tmp_path / "krb5.conf"  # MIT would allow for the difference by itself
    text = hdfs.krb5_conf.read_text()
    path.write_text(text.replace("[libdefaults]", "[libdefaults]\nkdc_timesync = 0"))
    ended = doctor(
        environment | {"KRB5_CONFIG": str(path), "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
        prefix=["faketime", "-f", shift],
    )
    assert_failed(
        ended,
        "ticket",
        "as tensorflow@LOCAL",
        "Clock skew too great",
        "set this machine's clock",
    )


def test_a_clock_that_is_a_day_behind(doctor, environment, require):
    require("faketime", shutil.which("faketime"))
    ended = doctor(
        environment | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"},
        prefix=["faketime", "-f", "-25h"],
    )
    assert_failed(
        ended, "ticket", " here, and ", " at the KDC", "set this machine's clo"
    )


def test_a_folder_of_krb5_conf_that_is_absent(doctor, hdfs, environment, tmp_path):
    path = tmp_path / "krb5.conf"
    path.write_text(f"includedir /no/krb5.conf.d/\n{hdfs.krb5_conf.read_text()}")
    ended = doctor(environment | {"KRB5_CONFIG": str(path)})
    assert_failed(
        ended,
        "krb5.conf",
        f"{str(path)!r}, line 1: includedir '/no/krb5.conf.d/' cannot be read: no such",
        "make that folder",
    )


def test_a_cache_whose_daemon_is_not_here(doctor, hdfs, tmp_path):
    path = tmp_path / "krb5.conf"
    added = f"[libdefaults]\ndefault_ccache_name = KCM:\nkcm_socket = {tmp_path}/none"
    path.write_text(hdfs.krb5_conf.read_text().replace("[libdefaults]", added))
    conf = {"POETS_HADOOP_CONF": str(hdfs.conf_dir), "KRB5_CONFIG": str(path)}
    ended = doctor(conf)
    assert_failed(
        ended,
        "ticket",
        "no ticket for the owner of 'KCM:': No KCM server found",
        "a KCM cache is kept by a daemon (sssd-kcm)",
    )


def test_a_kdc_that_is_down(doctor, hdfs, environment):
    hdfs.kdc.stop()
    try:
        ended = doctor(environment)
    finally:
        hdfs.kdc.start()
    assert_failed(
        ended,
        "KDC",
        "as tensorflow@LOCAL",
        f"cannot reach the KDC of LOCAL: {hdfs.kdc.address}: connection refused",
        "check whether it is up",
    )


def test_a_kdc_that_says_nothing(doctor, hdfs, environment, tmp_path, silent_port):
    path = tmp_path / "krb5.conf"
    address = f"127.0.0.1:{silent_port}"
    path.write_text(hdfs.krb5_conf.read_text().replace(hdfs.kdc.address, address))
    ended = doctor(environment | {"KRB5_CONFIG": str(path)}, "--timeout_s=1")
    assert_failed(
        ended,
        "ticket",
        f"no answer from KDC {address} of realm LOCAL within 1 s",
        "check that it runs",
    )


def test_no_krb5_conf(doctor, environment, tmp_path):
    ended = doctor(environment | {"KRB5_CONFIG": str(tmp_path / "none")})
    assert_failed(
        ended, "krb5.conf", f"no krb5.conf at '{tmp_path}/none'", "set KRB5_CONFIG"
    )


def test_no_ticket_cache(doctor, hdfs, tmp_path):
    ended = doctor(
        {
            "POETS_HADOOP_CONF": str(hdfs.conf_dir),
            "KRB5_CONFIG": str(hdfs.krb5_conf),
            "KRB5CCNAME": f"FILE:{tmp_path / 'none'}",
        }
    )
    assert_failed(ended, "ticket", "No credentials cache found", "run kinit")


def test_a_ticket_cache_that_lasts(doctor, ticket_cache):
    ended = doctor(ticket_cache("-l", "2h"), f"hdfs://default{INPUT}")
    assert ended.code == 0, ended
    assert steps_of(ended)["keytab"] == "left out"
    assert "none is given: the ticket cache is used" in ended.out
    assert re.search(r"ticket lifetime .* s  1(19|20) min, until", ended.out)


def test_a_ticket_that_ends_before_the_job(doctor, ticket_cache):
    environment = ticket_cache("-l", "10m")
    ended = doctor(environment, f"hdfs://default{INPUT}")
    assert_failed(
        ended,
        "ticket lifetime",
        "as tensorflow@LOCAL",
        "the ticket of tensorflow@LOCAL ends at",
        "in 10 min, and the job may take 60 min",
        "give a keytab (--kerberos_keytab)",
    )
    assert doctor(environment, "--job_minutes=5").code == 0


def test_a_ticket_that_has_expired(doctor, ticket_cache, wait_until):
    environment = ticket_cache("-l", "1s")

    def expired() -> bool:
        command = ["klist", "-s", "-c", environment["KRB5CCNAME"]]
        return subprocess.run(command, timeout=10, check=False).returncode == 1

    wait_until(expired)
    ended = doctor(environment)
    assert_failed(ended, "ticket", "Ticket expired", "run kinit again")


def test_a_keytab_that_others_may_read_is_reported(doctor, hdfs, environment, tmp_path):
    keytab = shutil.copy(hdfs.keytab("tensorflow"), tmp_path / "open.keytab")
    Path(keytab).chmod(0o644)
    ended = doctor(environment, f"--kerberos_keytab={keytab}")
    assert ended.code == 0
    assert f"others may read it (mode 0644): chmod 600 {keytab}" in ended.out


def test_nothing_is_left_in_the_temporary_folder(doctor, environment, tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    assert doctor(environment | {"TMPDIR": str(folder)}).code == 0
    assert list(folder.iterdir()) == []


def test_the_time_is_the_local_one(doctor, environment):
    ended = doctor(environment | {"TZ": "UTC"}, "--json")
    steps = {step["name"]: step for step in json.loads(ended.out)["steps"]}
    until = steps["ticket"]["found"].rpartition("until ")[2]
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    assert until.startswith(tomorrow) or ":" in until
