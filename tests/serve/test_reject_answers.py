"""Every face of a model answers (none) below the reject threshold, if it is asked."""

import base64
import json
import shutil

import numpy as np
import pytest
import simplejpeg

from poets.report.labels import digest_of
from tests.serve.actor import LABELS, Delivery, picture, run_actor
from tests.serving import serving

pytest_plugins = ["tests.serve.small", "tests.serve.action"]

THRESHOLD = 0.4
SURE = picture(1)  # green, with a score of 0.45
UNSURE = simplejpeg.encode_jpeg(np.full((12, 16, 3), 90, np.uint8))  # grey: 0.33
CLASSIFY = "/v1/models/small:classify"


@pytest.fixture(scope="module")
def models(small_model, tmp_path_factory):
    """A model beside the metrics.json of its run, and one alone."""
    folder = tmp_path_factory.mktemp("run")
    model = shutil.copy(small_model, folder)
    metrics = {
        "labels": [{"label": label} for label in LABELS],
        "exports": {"small.tflite": {"sha256": digest_of(model)}},
        "reject": {"wanted_accuracy": 0.95, "threshold": THRESHOLD},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return model, small_model


@pytest.fixture(scope="module")
def server(models):
    named = (f"small={models[0]}", f"alone={models[1]}")
    with serving(*named, "--processes=1") as running:
        yield running


def test_classify_over_rest(server):
    def best(data, query=""):
        (found,) = server.post(f"{CLASSIFY}{query}", data=data).json()["results"]
        return found

    (first, *_) = best(UNSURE)
    assert best(UNSURE, "?reject=true") == [["(none)", first[1]]]
    assert best(SURE, "?reject=true") == best(SURE) != [["(none)", first[1]]]
    assert best(UNSURE, "?reject=false") == best(UNSURE)


def test_a_request_that_cannot_be_rejected_is_refused(server):
    reply = server.post("/v1/models/alone:classify?reject=true", data=SURE)
    assert reply.status_code == 400
    assert "no reject threshold" in reply.json()["error"]
    reply = server.post(f"{CLASSIFY}?reject=maybe", data=SURE)
    assert (reply.status_code, reply.json()) == (
        400,
        {"error": "reject=maybe: must be true or false"},
    )


def test_the_page_gets_the_threshold_of_the_run(models):
    with serving(f"small={models[0]}", "--processes=1", "--reject") as running:
        (model,) = running.get("/about").json()["models"]
        assert model["reject_below"] == THRESHOLD


def test_a_model_without_a_threshold_is_not_served(models):
    with pytest.raises(AssertionError, match="no reject threshold for .*small.tflite"):
        serving(models[1], "--processes=1", "--reject").__enter__()


def test_an_actor(models):
    def out(data, reject="true", model=models[0]):
        parameters = {"predictions": "1", "reject": reject}
        return run_actor(model, Delivery(data=data, parameters=parameters))

    assert out(UNSURE).out.startswith("(none) (score = 0.3")
    assert out(SURE).out.startswith("green (score = 0.4")
    assert out(UNSURE, "false").out.startswith(LABELS)
    assert out(UNSURE, "perhaps").code == 2
    alone = out(SURE, model=models[1])
    assert (alone.code, alone.out) == (1, "")
    assert "no reject threshold" in alone.err


def test_an_action(models, run_action):
    def value(data, **parameters):
        return {"image": base64.b64encode(data).decode(), **parameters}

    with run_action(MODEL=models[0]) as action:
        unsure = action.run(value(UNSURE, reject=True)).json()
        assert (unsure["code"], unsure["res"], unsure["label"]) == (200, None, "(none)")
        assert unsure["scores"] == action.run(value(UNSURE)).json()["scores"]
        assert action.run(value(SURE, reject="true")).json()["label"] == "green"
        assert action.run(value(UNSURE)).json()["label"] in LABELS
    with run_action(MODEL=models[1]) as action:
        failed = action.run(value(SURE, reject=True)).json()
        assert failed["res"] == -3
        assert "no reject threshold" in failed["error"]["message"]
