"""Every form of an Abaco message is understood, and every other one explained."""

import json
import os
import threading
from pathlib import Path
from random import Random

import pytest

from poets.data.image_files import ImageError
from poets.errors import ConfigError
from poets.serve.abaco import message as abaco_message
from poets.serve.abaco.message import Message, read_fifo, read_message

URL = "https://example.org/a%20b.jpg?x=1&y=2+3"
DICT = {"data_url": URL, "data_name": "monkey.jpg", "predictions": 4, "q": "it's"}
NO_FIFO = "/nowhere/fifo"


def read(text=None, **parameters):
    message = {} if text is None else {"MSG": text}
    return read_message({**message, **parameters}, NO_FIFO)


@pytest.mark.parametrize(
    "text",
    [
        repr(DICT),
        json.dumps(DICT),
        json.dumps({**DICT, "flag": True, "none": None}),
        repr({**DICT, "flag": True, "none": None}),
        repr({**DICT, "predictions": "4"}),
        json.dumps({**DICT, "predictions": 4.0, "nan": float("nan")}),
        json.dumps(json.dumps(DICT)),
        repr(repr(DICT)),
        f"\n {DICT!r} \n",
        repr({**DICT, "path": "/a/\\d"}).replace("\\\\", "\\"),
    ],
)
def test_a_dict_may_be_a_python_literal_or_json(text, recwarn):
    assert read(text) == Message(URL, "monkey.jpg", 4)
    assert not recwarn.list  # of the unknown escape in the last one


def test_a_dict_has_defaults():
    assert read(repr({"data_url": URL})) == Message(URL, "classify.img", 3)
    nulls = {"data_url": URL, "data_name": None, "predictions": None}
    assert read(repr(nulls)) == Message(URL, "classify.img", 3)


@pytest.mark.parametrize("text", [URL, repr(URL), json.dumps(URL), f"{URL}\n"])
def test_a_url_alone_asks_for_five_labels(text):
    assert read(text) == Message(URL, "classify.img", 5)


@pytest.mark.parametrize("text", ["classify", "", None, "[1]", "7"])
def test_query_parameters_are_the_message_of_a_bare_word(text):
    found = read(text, data_url=URL, data_name="x.jpg", predictions="2")
    assert found == Message(URL, "x.jpg", 2)
    assert read(text, data_url=URL).predictions == 3


def test_the_message_is_stronger_than_query_parameters():
    found = read(repr({"data_url": URL}), data_url="http://other", predictions="7")
    assert found == Message(URL, "classify.img", 7)
    assert read(URL, predictions="1").predictions == 1


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/a/b.jpg", "b.jpg"),
        ("a/", "classify.img"),
        ("", "classify.img"),
        (7, "7"),
    ],
)
def test_only_the_last_part_of_a_name_counts(name, kept):
    assert read(repr({"data_url": URL, "data_name": name})).name == kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("classify", "found 8 characters of another kind; send {'data_url': "),
        (None, "MSG not set or interepretable as a dict object: found nothing; send"),
        ("   ", "found nothing"),
        (repr({"data_url": URL})[:-1], "characters of another kind"),
        (repr({"data_url": URL, "n": "x"}).replace("'x'", "nan"), "of another kind"),
        ("[" * 100_000, "found 100000 characters"),
        ("-" * 100_000, "found 100000 characters"),
        ("{'a':" * 20_000, "found 100000 characters"),
        ("9" * 100_000, "found 100000 characters"),
        (f"{{'data_url': 'x', 'predictions': -0x{'f' * 9000}}}", "of another kind"),
        ("{}", "data_url was not defined: found nothing else; send"),
        ("{'data_ulr': 1, 2: 3}", "not defined: found 'data_ulr', '2' (did you mean"),
        ("{'data_url': ''}", "data_url was not defined: found nothing else; send"),
        ("{'data_url': None}", "data_url was not defined"),
        ("{'data_url': ['x']}", "data_url is of type list, not text; send"),
        (repr({"x" * 100: 1}), f"found '{'x' * 40}'; send"),
    ],
)
def test_what_is_no_message_is_explained(text, reason):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_message_with_a_key_in_it_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        read("{'data_url': 'https://x/?X-Amz-Signature=secret'")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [0, -1, True, 2.5, "", "two", "0", [], {}, "9" * 5000, float("inf")]
)
def test_a_number_of_predictions_is_at_least_one(value):
    text = json.dumps({"data_url": URL, "predictions": value})
    with pytest.raises(ConfigError, match=r"^predictions=.{0,40}: must be a whole num"):
        read(text)


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_bytes_of_a_writer_that_keeps_the_fifo_open_are_a_message(fifo):
    """As Abaco writes them, before the container starts."""
    held = os.open(fifo, os.O_RDWR)
    try:
        os.write(held, b"picture")
        environment = {"data_name": "a/b.png", "predictions": "2"}
        found = read_message(environment, fifo)
    finally:
        os.close(held)
    assert found == Message(b"picture", "b.png", 2)


def test_bytes_of_a_writer_that_closes_the_fifo_are_a_message(fifo):
    data = os.urandom(3_000_000)  # more than a FIFO holds
    writer = threading.Thread(target=Path(fifo).write_bytes, args=(data,))
    writer.start()
    # The pause that ends a message must not end this one.
    assert read_fifo(fifo, quiet_s=300) == data
    writer.join(300)


def test_text_is_stronger_than_a_fifo(fifo):
    assert read_message({"MSG": URL}, fifo).picture == URL


def test_a_fifo_without_bytes_is_given_up(fifo):
    with pytest.raises(ImageError, match="no bytes came through '.*fifo' in 0.05 s"):
        read_fifo(fifo, first_byte_s=0.05)


def test_too_many_bytes_are_refused(fifo, monkeypatch):
    monkeypatch.setattr(abaco_message, "MAX_BYTES", 100)
    held = os.open(fifo, os.O_RDWR)
    try:
        os.write(held, bytes(101))
        with pytest.raises(ImageError, match="longer than 100 bytes"):
            read_fifo(fifo)
    finally:
        os.close(held)


def test_no_text_breaks_it():
    """Each is a message, or refused in one line that shows little of it."""
    random = Random(1)
    parts = [
        *("{", "}", "[", "]", "(", ")", "'", '"', ":", ",", "\\", "-", "#", "\n", "\t"),
        *(
            "data_url",
            "data_name",
            "predictions",
            URL,
            "None",
            "null",
            "NaN",
            "0x",
            "9",
        ),
        *(
            "b'",
            "f'{x}'",
            "\\N{",
            "\\ud800",
            "\udcff",
            "é",
            "🙂",
            "\u2028",
            "j",
            "*",
            "...",
        ),
        *(repr(DICT), json.dumps(DICT)),
    ]
    messages, refusals = [], []
    for _ in range(3000):
        pieces = random.choices(parts, k=random.randint(1, 12))
        if random.random() < 0.5:
            text = list(repr(DICT))
            for piece in pieces[:3]:
                text[random.randrange(len(text))] = piece
            pieces = text
        try:
            messages.append(read("".join(pieces)))
        except ConfigError as error:
            refusals.append(str(error))
    assert len(messages) > 100
    assert len(refusals) > 100
    assert max(map(len, refusals)) < 500
