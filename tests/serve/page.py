"""A pytest plugin: the page of the model server in a real browser.

The model names the colour of a picture. Some of its labels are hostile. After each
test, `visitor` checks that the browser sent no other request and violated no rule.

A test module asks for it by `pytest_plugins = ["tests.watched", "tests.serve.page"]`.
"""

import io
import json
import re

import pytest
from PIL import Image

from poets.report.labels import digest_of
from tests.serving import serving

MARKUP = "<img src=x onerror=alert(1)>"
TURNED = "\u202eturned"  # U+202E writes what follows it from right to left
LONG = "a_label_without_a_space_" * 8
LABELS = ["red", "green", "blue", MARKUP, TURNED, LONG, "käfer"]
OTHER = ["rouge", "vert", "bleu", "quatre", "cinq", "six", "sept"]
RED, GREEN, BLUE, GREY = (250, 5, 5), (5, 250, 5), (5, 5, 250), (128, 128, 128)
REPORT = "<h1>The report</h1><script>document.body.innerHTML = 'evil'</script>"
TIMEOUT_MS = 60_000


def metrics_of(model, labels):
    """Returns metrics.json of a run that made the model."""
    rows = [
        {"label": label, "n": 10, "precision": 0.9, "recall": 0.9625 - 0.1 * position}
        for position, label in enumerate(labels)
    ]
    accuracy = {"n": 70, "correct": 54, "accuracy": 0.7714}
    return {
        "finished": "2026-11-29T12:13:14+00:00",
        "model": {"backbone": "mobilenet_0.50_224"},
        "images": {"used": 12345},
        "labels": [{"label": label} for label in labels],
        "accuracy": {"test": {**accuracy, "interval_95": [0.6612, 0.8539]}},
        "per_label": [*rows[:-1], {**rows[-1], "precision": None, "recall": None}],
        "exports": {"colours.tflite": {"sha256": digest_of(str(model))}},
        "notes": ["2 pictures are in both splits"],
    }


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """Two folders with the same network: one knows its run, one has other labels."""
    from poets.system.runtime import tf, v1

    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [1, 8, 8, 3], "Placeholder")
        means = 6 * tf.reduce_mean(images, axis=[1, 2])
        scores = tf.nn.softmax(tf.pad(means, [[0, 0], [0, len(LABELS) - 3]]))
        convert = v1.lite.TFLiteConverter.from_session
        content = convert(session, [images], [scores]).convert()
    folders = [tmp_path_factory.mktemp(name) for name in ("colours", "couleurs")]
    for folder, labels in zip(folders, (LABELS, OTHER), strict=True):
        (folder / "colours.tflite").write_bytes(content)
        (folder / "labels.txt").write_text("\n".join(labels))
    metrics = metrics_of(folders[0] / "colours.tflite", LABELS)
    (folders[0] / "metrics.json").write_text(json.dumps(metrics))
    (folders[0] / "report.html").write_text(REPORT)
    return [folder / "colours.tflite" for folder in folders]


@pytest.fixture(scope="session")
def page_server(colours):
    names = (f"red-&-blue={colours[0]}", f"couleurs={colours[1]}")
    options = ("--processes=1", "--reject_below=0.5", "--allow_urls=127.0.0.0/8")
    with serving(*names, *options) as running:
        yield running


@pytest.fixture
def visitor(patient):
    """Afterwards, checks that the pages asked only their server."""
    yield patient
    schemes_and_hosts = {url.partition("/v1/")[0] for url in patient.requests}
    assert all(
        re.fullmatch(
            r"blob:.*|data:.*|http://127\.0\.0\.1:\d+(/|/about|/report/.*)?", url
        )
        for url in schemes_and_hosts
    )


@pytest.fixture
def page(visitor, page_server):
    opened = visitor.open(page_server.url)
    opened.get_by_role("heading", name="red-&-blue").wait_for()
    return opened


def picture(colour, name="a.png"):
    """Returns a file for the browser."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def said(page, text):
    """Waits until the status has a text."""
    from playwright.sync_api import expect

    expect(page.get_by_role("status")).to_have_text(
        re.compile(text), timeout=TIMEOUT_MS
    )


def choose(page, *files):
    page.locator("#files").set_input_files(list(files))


def cards(page):
    return page.get_by_role("list").and_(page.locator("#results")).locator("> li")
