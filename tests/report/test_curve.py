"""The terminal picture and the PNG of a run."""

import importlib.util
import io
import math

import pytest

from poets.errors import ConfigError
from poets.report.curve import (
    ASCII,
    MAX_PLOTTED_POINTS,
    MAX_WIDTH,
    MIN_WIDTH,
    UNICODE,
    finite_points,
    glyphs_for,
    plot_png,
    terminal_curve,
)
from poets.report.worker_log import LoggedRun, LoggedStep

RISING = [(10 * k, 0.2 + 0.06 * k) for k in range(11)]
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def run_of(count: int, **fields) -> LoggedRun:
    steps = [
        LoggedStep(10 * k, 0.5, 2.0 / (k + 1), k / count, 100) for k in range(count)
    ]
    return LoggedRun("", 1, steps=steps, num_steps=count, **fields)


def test_a_rising_line_is_drawn_as_one_in_ascii():
    assert terminal_curve(RISING, RISING, 40, ASCII) == (
        "  80% |                               **\n"
        "      |                            ***\n"
        "      |                         ***\n"
        "      |                     ****\n"
        "      |                  ***\n"
        "  50% |               ***\n"
        "      |            ***\n"
        "      |         ***\n"
        "      |     ****\n"
        "      |  ***\n"
        "  20% |**\n"
        "      +---------------------------------\n"
        "       0                             100\n"
        "       * validation  . train"
    )


def test_train_dots_show_where_the_validation_line_is_not():
    text = terminal_curve([(0, 1.0), (10, 1.0)], [(0, 0.0), (10, 0.0)], 30, ASCII)
    rows = text.split("\n")
    assert rows[0].startswith(" 100% |.")
    assert rows[10] == "   0% |" + "*" * 23


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [0, MIN_WIDTH, 40, 80, MAX_WIDTH, 500])
def test_the_picture_fits_the_terminal(width, glyphs):
    text = terminal_curve(RISING[::2], RISING, width, glyphs)
    widest = max(map(len, text.split("\n")[:-1]))
    assert widest == max(MIN_WIDTH, min(width, MAX_WIDTH))


def test_without_two_steps_there_is_no_picture():
    assert terminal_curve([], [], 80) == ""
    assert terminal_curve([(5, 0.5)], [(5, 0.4)], 80) == ""


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_level_line_has_room_above_and_below(value):
    rows = terminal_curve([], [(0, value), (10, value)], 40, ASCII).split("\n")
    assert rows[5].endswith("*" * 33)


def test_many_steps_are_drawn_by_their_mean():
    noisy = [(k, 0.5 + 0.1 * (-1) ** k) for k in range(10_000)]
    rows = terminal_curve([], noisy, 80, ASCII).split("\n")
    assert [row for row in rows if "**********" in row] == [rows[5]]


def test_points_that_are_no_number_are_left_out():
    steps = [
        LoggedStep(0, 0.1),
        LoggedStep(10, math.nan),
        LoggedStep(20),
        LoggedStep(30, 0.4),
    ]
    assert finite_points(steps, "train_accuracy") == [(0, 0.1), (30, 0.4)]


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [
        ("utf-8", UNICODE),
        ("ascii", ASCII),
        ("latin-1", ASCII),
        ("cp437", ASCII),
        (None, ASCII),
        ("no-such-encoding", ASCII),
    ],
)
def test_the_characters_are_those_the_terminal_has(encoding, glyphs):
    assert glyphs_for(encoding) is glyphs


def test_ascii_is_ascii():
    assert terminal_curve(RISING, RISING, 80, ASCII).isascii()


@needs_matplotlib
@pytest.mark.parametrize("count", [0, 1, 2, MAX_PLOTTED_POINTS * 3])
def test_a_plot_is_a_png_with_something_drawn(count):
    from PIL import Image

    run = run_of(count, test_accuracy=0.867, test_n=383)
    with Image.open(io.BytesIO(plot_png([("worker.log", run)]))) as image:
        assert image.format == "PNG"
        assert image.size == (1080, 780)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    blue = (31, 119, 180)  # the first run's colour
    assert (blue in colours) == (count > 0)


@needs_matplotlib
def test_a_plot_takes_any_name_and_any_number_of_runs():
    names = ["$x$_1^{", "_hidden", "バラ.log", *map(str, range(20))]
    assert plot_png([(name, run_of(3)) for name in names]).startswith(b"\x89PNG")


def test_a_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"matplotlib is not installed; pip install 'poets\[plot\]'",
    ):
        plot_png([])
