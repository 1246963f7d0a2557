"""All faces of a model give the same answers, and the same reasons for refusals."""

import pytest

from poets.classifier import load_classifier
from tests.bombs import png_of
from tests.command import silent_server
from tests.serve import faces
from tests.serving import serving

pytest_plugins = ["tests.finished", "tests.served", "tests.serve.action"]


@pytest.fixture(scope="module")
def model(finished):
    return finished.folder / "retrained_graph.tflite"


@pytest.fixture(scope="module")
def all_faces(model, run_action, tmp_path_factory):
    """Returns name -> face."""
    words = [f"m={model}", "--processes=1", "--max_body_mb=64"]
    hosts = "*,127.0.0.1"
    with (
        serving(*words, f"--allow_urls={hosts}") as server,
        run_action(MODEL=model, POETS_ALLOW_URLS=hosts) as action,
    ):
        yield {
            "REST": faces.Rest(server),
            "form": faces.Form(server),
            "Open Inference": faces.OpenInference(server),
            "gRPC": faces.Grpc(server),
            "Abaco": faces.Abaco(model),
            "OpenWhisk": faces.OpenWhisk(action),
            "label": faces.Label(model, tmp_path_factory.mktemp("label")),
        }


NAMES = ("REST", "form", "Open Inference", "gRPC", "Abaco", "OpenWhisk", "label")
FETCH = ("form", "Abaco", "OpenWhisk", "label")


@pytest.fixture(params=NAMES)
def face(request, all_faces):
    return all_faces[request.param]


@pytest.fixture(params=FETCH)
def fetching(request, all_faces):
    return all_faces[request.param]


def test_scores_are_those_of_the_model(face, model, finished, photo):
    (expected,) = load_classifier(str(model)).predict([photo])
    found = face.classify(photo)
    assert found == pytest.approx(
        dict(zip(finished.labels, expected.tolist(), strict=True)), abs=1e-5
    )


BAD = {
    "not an image": (b"no picture", "not a JPEG, PNG, WEBP, BMP, GIF image"),
    "empty": (b"", "empty file|no picture"),
    "truncated": (b"\xff\xd8\xff\xe0\0\x10JFIF", "cannot be decoded"),
    "bomb": (png_of(20_000, 20_000), "decompression bomb"),
    "50 MB": (bytes(50 << 20), "only zeros|longer|more than"),
    "HTML": (b"<!DOCTYPE html><title>Sign in</title>", "not a"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_is_refused_for_its_reason(face, kind):
    content, reason = BAD[kind]
    if kind == "empty" and isinstance(face, faces.Abaco):
        pytest.skip("an actor waits for the first byte of a binary message")
    with pytest.raises(faces.RefusedError, match=reason):
        face.classify(content)


def test_a_picture_at_a_url_has_the_same_scores(fetching, web_server, photo):
    web_server.files["/rose.jpg"] = photo
    found = fetching.classify_url(web_server.url("/rose.jpg?signature=secret"))
    assert found == pytest.approx(fetching.classify(photo), abs=1e-5)


URLS = {
    "404": ("/nothing.jpg", "404 Not Found"),
    "HTML page": ("/page", "an HTML page, not a picture"),
    "not an image": ("/text.jpg", "not a JPEG"),
    "redirect loop": ("/loop", "redirects"),
}


@pytest.mark.parametrize("kind", URLS)
def test_a_bad_url_is_refused_for_its_reason(fetching, web_server, kind):
    path, reason = URLS[kind]
    web_server.files["/page"] = b"<!DOCTYPE html><title>Sign in</title>"
    web_server.files["/text.jpg"] = b"no picture"
    if path == "/loop":
        web_server.headers["/loop"] = {"Location": web_server.url("/loop")}
        web_server.statuses = [302] * 20
    with pytest.raises(faces.RefusedError, match=reason):
        fetching.classify_url(web_server.url(path))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://10.0.0.1/rose.jpg"])
@pytest.mark.parametrize("name", ["form", "Abaco", "OpenWhisk"])
def test_what_strangers_may_not_reach_is_refused(all_faces, name, url):
    reason = "not an http or https|no public address|MSG"
    with pytest.raises(faces.RefusedError, match=reason):
        all_faces[name].classify_url(url)


@pytest.mark.parametrize("name", ["form", "OpenWhisk"])
def test_a_server_that_says_nothing_is_given_up(all_faces, name):
    with silent_server() as port, pytest.raises(faces.RefusedError, match="cannot be"):
        all_faces[name].classify_url(f"http://127.0.0.1:{port}/rose.jpg")
