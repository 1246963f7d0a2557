"""Progress: log lines without a terminal, a bar on one; C++ chatter held back."""

import fcntl
import logging
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import absl.logging
import pytest

from poets.system import progress
from poets.system.progress import MOST_LINES, log_some, track
from poets.system.quiet import quiet_stderr, unconfigured_logging

ROOT = Path(__file__).parents[2]


def test_short_work_logs_nothing(caplog):
    caplog.set_level(logging.INFO)
    with track(3, "bottlenecks") as advance:
        for _ in range(3):
            advance(1)
    assert caplog.messages == []


def test_long_work_logs_rate_and_time_to_go(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with track(4, "download", "bytes") as advance:
        advance(1)
        advance(2)
        advance(1)
    first, second = caplog.messages  # the caller logs the end
    assert first.startswith("download: 1 of 4 bytes, ")
    assert second.startswith("download: 3 of 4 bytes, ")
    assert " a second, " in second
    assert second.endswith(" s to go")


@pytest.mark.parametrize("total", [0, 1])
def test_work_may_be_nothing_or_more_than_reported(total, caplog, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with track(total, "download") as advance:
        advance(0)
        advance(5)
    assert not [line for line in caplog.messages if "of 0" in line]


def test_an_exception_passes_through():
    with pytest.raises(KeyError), track(3, "x") as advance:
        advance({}["missing"])


def test_on_a_terminal_there_is_a_bar():
    code = (
        "from poets.system.progress import track\n"
        "with track(200, 'bottlenecks') as advance:\n"
        "    for _ in range(200): advance(1)\n"
    )
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stderr=stderr,
            check=True,
            timeout=300,
        )
        assert select.select([terminal], [], [], 10)[0], "nothing was shown"
        shown = os.read(terminal, 1 << 16).decode()
    finally:
        os.close(terminal)
        os.close(stderr)
    assert "bottlenecks:" in shown
    assert "/200" in shown
    assert " images/s" in shown


@pytest.mark.parametrize("count", [0, 1, MOST_LINES, MOST_LINES + 1, 1000])
def test_lines_of_a_kind_are_few_and_the_others_are_counted(caplog, count):
    log_some(logging.getLogger().warning, ["100 %s"] * count, "more images: see x.csv")
    lines = ["100 %s"] * min(count, MOST_LINES)
    left = count - len(lines)
    assert caplog.messages == lines + [f"{left} more images: see x.csv"] * (left > 0)


def test_chatter_is_held_back(capfd):
    with quiet_stderr():
        os.write(2, b"chatter\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_chatter_is_shown_after_an_exception(capfd):
    with pytest.raises(ZeroDivisionError), quiet_stderr():
        1 / (os.write(2, b"the reason\n") - 11)
    assert capfd.readouterr().err == "the reason\n"


def test_libraries_do_not_set_up_logging(monkeypatch, capsys):
    monkeypatch.setattr(logging.root, "handlers", [])
    with unconfigured_logging():
        absl.logging.info("calls logging.basicConfig")
        logging.getLogger("poets.x").warning("shown as ever")
        logging.getLogger("poets.x").info("not shown")
    assert logging.root.handlers == []
    assert capsys.readouterr().err == "shown as ever\n"


def test_the_programs_own_logging_stays(monkeypatch):
    own = [logging.NullHandler()]
    monkeypatch.setattr(logging.root, "handlers", own)
    with unconfigured_logging():
        assert logging.root.handlers is own
    assert len(own) == 1


def test_holding_back_leaves_no_descriptor_open():
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with quiet_stderr():
            pass
    assert len(os.listdir("/dev/fd")) == before
