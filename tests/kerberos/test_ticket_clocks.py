"""Tickets by a clock that is not the KDC's: what works, and how it is reported."""

import os
import re
import shutil
import subprocess

import pytest

from tests.command import run_python

pytestmark = pytest.mark.usefixtures("clients")

ASK = """
import sys
from poets.kerberos.libkrb5 import Login, get_tgt
from poets.errors import KerberosError
try:
    print(get_tgt(Login(*[word or None for word in sys.argv[1:]]), 30))
except KerberosError as error:
    print(error)
"""


@pytest.fixture
def asked_at(require):
    """Asks for a ticket by a clock that is off; returns what is printed."""
    require("faketime", shutil.which("faketime"))

    def ask(shift: str, *words: object) -> str:
        environment = {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        prefix = ["faketime", "-f", shift]
        done = run_python(["-c", ASK, *words], environment, prefix)
        assert done.code == 0, done.err
        return done.out.strip()

    return ask


@pytest.mark.parametrize("shift", ["+1h", "-1h"])
def test_a_clock_that_is_off_is_reported(shift, kdc, keytab, set_default, asked_at):
    set_default("kdc_timesync = 0")  # MIT would allow for the difference by itself
    assert asked_at(shift, "tensorflow@LOCAL", keytab, "") == (
        "no ticket for 'tensorflow@LOCAL': Clock skew too great in KDC reply; set this "
        f"machine's clock: {kdc.address} of realm LOCAL has another time"
    )


@pytest.mark.parametrize("shift", ["-25h", "-400d"])
def test_a_clock_that_is_a_day_behind_is_reported_with_both_times(
    shift, kdc, keytab, asked_at
):
    assert re.fullmatch(
        r"no ticket for 'tensorflow@LOCAL': it is [-0-9]+ [:0-9]+ here, and "
        r"[-0-9]+ [:0-9]+ at the KDC; set this machine's clock: "
        rf"{kdc.address} of realm LOCAL has another time",
        asked_at(shift, "tensorflow@LOCAL", keytab, ""),
    )


@pytest.mark.parametrize("shift", ["-23h", "+25h"])
def test_a_clock_that_the_library_allows_for_is_no_fault(shift, keytab, asked_at):
    assert asked_at(shift, "tensorflow@LOCAL", keytab, "").startswith("Ticket(")


@pytest.mark.parametrize(
    ("shift", "found"),
    [
        (
            "-25h",
            r"Ticket not valid before .*, now it is .*; set this machine's clock: ",
        ),
        (
            "+25h",
            r"Ticket expired at .*, now it is .*; run kinit again, .* set this mac",
        ),
    ],
)
def test_a_clock_that_does_not_fit_the_cache_is_reported(
    shift, found, kinit, tmp_path, asked_at
):
    kinit(tmp_path / "cc", "alice@LOCAL")
    assert re.search(f": {found}", asked_at(shift, "", "", f"FILE:{tmp_path}/cc"))


def test_a_ticket_that_ended_before_it_began_is_a_matter_of_the_clock(
    keytab, tmp_path, asked_at
):
    cache = f"FILE:{tmp_path}/cc"
    words = ["faketime", "-f", "-25h", "kinit", "-k", "-t", keytab, "-c", cache]
    subprocess.run([*words, "alice@LOCAL"], check=True, timeout=60)
    text = asked_at("-25h", "", "", cache)
    assert re.search("Ticket expired at .*, before it began at .*; set this mach", text)
