"""`poets abaco` against the documented interface, with the real program behind it."""

import json
import re
import threading

import pytest

from poets.cli import run
from poets.serve.abaco import client as abaco_client
from tests.serve.actor import TOKEN, Delivery, Execution, picture, run_actor, running

pytest_plugins = ["tests.serve.small"]

FAST = Execution(0, "green (score = 0.90000)\nred, as of roses (score = 0.10000)\n")
FAST_LABELS = [
    {"label": "green", "score": 0.9},
    {"label": "red, as of roses", "score": 0.1},
]


@pytest.fixture
def platform():
    """A platform whose actor answers at once."""
    with running(lambda delivery: FAST) as started:
        started.actors["flowers"] = {"id": "flowers", "image": "org/flowers"}
        started.polls_until_ready = 0
        yield started


@pytest.fixture(autouse=True)
def _settings(request, monkeypatch):
    for name, value in request.getfixturevalue("platform").environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(abaco_client, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def abaco(capsys):
    """Returns a function that runs `poets abaco`: exit code, stdout, stderr."""

    def call(*words):
        code = run(["abaco", *map(str, words)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert TOKEN not in out + err
        return code, out, err

    return call


def test_an_actor_is_registered_and_awaited(abaco, platform):
    platform.polls_until_ready = 3
    code, out, err = abaco("register", "org/flowers:1.0.0", "--name", "flowers")
    assert (code, out) == (0, "actor1\n")
    assert platform.actors["actor1"]["image"] == "org/flowers:1.0.0"
    assert platform.actors["actor1"]["name"] == "flowers"
    assert platform.actors["actor1"]["stateless"] is True
    assert platform.requests.count("GET /actors/v2/actor1") == 4


def test_an_actor_that_fails_ends_the_waiting(abaco, platform):
    code, out, err = abaco("register", "org/missing")
    assert (code, out) == (1, "")
    assert err == (
        "poets abaco: actor actor1 ended with ERROR: Image not found: org/missing\n"
    )


def test_waiting_has_a_deadline(abaco, platform):
    platform.polls_until_ready = 10**9
    code, _, err = abaco("register", "org/flowers", "--timeout_s", "0.05")
    assert code == 1
    assert "actor actor1 is not READY after 0.05 s: its status is SUBMITTED" in err


def test_a_platform_that_stumbles_is_asked_again(abaco, platform):
    platform.polls_until_ready = 1
    platform.faults = [0, 503, 429, 0]
    assert abaco("register", "org/flowers")[:2] == (0, "actor1\n")


MESSAGES = (
    "https://example.org/a b.jpg?X-Amz-Signature=a%2Bb+c&d=1;e",
    "{'data_url': 'https://example.org/ü.jpg', 'flag': True}",
    '{"data_url": "https://example.org/%25.jpg", "predictions": 2}',
)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_arrives_as_it_was_given(abaco, platform, message):
    """Also its &, + and %, which curl -d would change."""
    code, out, _ = abaco("submit", "flowers", message)
    assert platform.deliveries == [Delivery(message)]
    assert code == 0
    assert json.loads(out) == {
        "message": message,
        "execution": "run0",
        "labels": FAST_LABELS,
    }


def test_a_file_is_sent_as_bytes(abaco, platform, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(picture(1))
    assert abaco("submit", "flowers", path)[0] == 0
    assert platform.deliveries == [Delivery(None, picture(1))]


def test_the_real_program_answers_messages(
    abaco, platform, small_model, web_server, tmp_path
):
    platform.run = lambda delivery: run_actor(small_model, delivery)
    (tmp_path / "red.jpg").write_bytes(picture(0))
    web_server.files["/green.jpg"] = picture(1)
    url = web_server.url("/green.jpg?a=1&b=2+3")
    messages = tmp_path / "messages.txt"
    messages.write_text(
        f"{url}\n\n{{'data_url': '{url}', 'predictions': 1}}\n"
        f"{tmp_path / 'red.jpg'}\n{web_server.url('/absent.jpg')}\n{url}\n"
    )
    code, out, _ = abaco("submit", "flowers", "--from", messages, "--parallel", "2")
    found = {result["message"]: result for result in map(json.loads, out.splitlines())}
    assert code == 1
    assert len(found) == 4
    assert found[url]["labels"][0]["label"] == "green"
    assert len(found[url]["labels"]) == 3
    assert len(found[f"{{'data_url': '{url}', 'predictions': 1}}"]["labels"]) == 1
    assert found[str(tmp_path / "red.jpg")]["labels"][0]["label"] == "red, as of roses"
    failed = found[web_server.url("/absent.jpg")]["error"]
    assert failed.startswith("exit code 1: abaco: data_url was not downloaded: ")


def test_logs_are_printed(abaco, platform):
    execution = json.loads(abaco("submit", "flowers", "http://x")[1])["execution"]
    assert abaco("logs", "flowers", execution) == (0, FAST.out, "")
    code, out, err = abaco("logs", "flowers", "run77")
    assert (code, out) == (1, "")
    assert err == (
        "poets abaco: GET /actors/v2/flowers/executions/run77/logs: HTTP 400: No "
        "executions found with id run77.\n"
    )


def test_many_messages_run_eight_at_a_time(abaco, platform, tmp_path):
    eight = threading.Barrier(8)
    counting = threading.Lock()
    running_now, most = 0, 0

    def answer(delivery):
        nonlocal running_now, most
        with counting:
            running_now += 1
            most = max(most, running_now)
        eight.wait(300)  # as many run at once
        with counting:
            running_now -= 1
        return FAST

    platform.run = answer
    messages = [f"http://example.org/{number}.jpg" for number in range(200)]
    (tmp_path / "urls").write_text("\n".join(messages))
    output = tmp_path / "results.jsonl"
    code, out, _ = abaco(
        "submit", "flowers", "--from", tmp_path / "urls", "--output", output
    )
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert (code, out) == (0, "")
    assert sorted(result["message"] for result in results) == sorted(messages)
    assert all(result["labels"] == FAST_LABELS for result in results)
    assert len({result["execution"] for result in results}) == len(messages)
    assert most == 8


def test_a_second_run_sends_what_has_no_labels_yet(abaco, platform, tmp_path):
    output = tmp_path / "results.jsonl"
    platform.run = lambda delivery: (
        FAST if "good" in delivery.text else Execution(1, "", "abaco: no picture\n")
    )
    assert abaco("submit", "flowers", "good", "bad", "--output", output)[0] == 1
    with open(output, "a") as file:
        file.write('{"message": "other", "lab')  # as a killed run leaves it
    platform.run = lambda delivery: FAST
    platform.deliveries.clear()
    words = ("submit", "flowers", "good", "bad", "other", "--output", output)
    assert abaco(*words)[0] == 0
    assert sorted(sent.text for sent in platform.deliveries) == ["bad", "other"]
    assert abaco(*words)[0] == 0
    assert len(platform.deliveries) == 2


@pytest.mark.parametrize(
    ("execution", "reason"),
    [
        (Execution(1, "", "abaco: empty file\n"), "exit code 1: abaco: empty file"),
        (Execution(137, "green (score = 0.9", ""), "exit code 137: green (score = 0.9"),
        (Execution(0, "hello\n", ""), "exit code 0: hello"),
    ],
)
def test_complete_is_not_a_success(abaco, platform, execution, reason):
    """The platform's status is COMPLETE whatever the exit code."""
    platform.run = lambda delivery: execution
    code, out, _ = abaco("submit", "flowers", "http://x")
    assert code == 1
    assert json.loads(out)["error"] == reason


def test_an_actor_that_prints_nothing_is_an_error(abaco, platform, monkeypatch):
    """The original prints nothing and exits with 0 where a download fails."""
    monkeypatch.setattr(abaco_client, "LATE_LOGS_S", 0.05)
    platform.run = lambda delivery: Execution()
    code, out, _ = abaco("submit", "flowers", "http://x")
    assert code == 1
    assert json.loads(out)["error"] == "exit code 0: it printed nothing"


def test_a_message_that_is_not_done_in_time_is_an_error(abaco, platform):
    over = threading.Event()
    platform.run = lambda delivery: over.wait(300) and FAST
    code, out, _ = abaco("submit", "flowers", "http://x", "--timeout_s", "0.05")
    over.set()
    assert code == 1
    assert "execution run0 is not COMPLETE after 0.05 s" in json.loads(out)["error"]


def test_one_refused_message_does_not_stop_the_others(abaco, platform):
    platform.faults = [500]
    words = ("submit", "flowers", "http://x", "http://y", "--parallel", "1")
    code, out, _ = abaco(*words)
    first, second = sorted(
        map(json.loads, out.splitlines()), key=lambda r: r["message"]
    )
    assert code == 1
    assert first["error"] == (
        "POST /actors/v2/flowers/messages: HTTP 500: the platform is busy"
    )
    assert second["labels"] == FAST_LABELS


@pytest.mark.parametrize(
    ("actor", "token", "reason"),
    [
        ("absent", TOKEN, "HTTP 404: No actor found with identifier: absent.\n"),
        (
            "flowers",
            "wrong-token",
            "HTTP 401: Invalid Credentials; check ABACO_TOKEN\n",
        ),
        ("../x/y?z", TOKEN, "POST /actors/v2/..%2Fx%2Fy%3Fz/messages: HTTP 404"),
    ],
)
def test_what_every_message_would_be_refused_for_ends_the_run(
    abaco, platform, monkeypatch, actor, token, reason
):
    monkeypatch.setenv("ABACO_TOKEN", token)
    code, out, err = abaco("submit", actor, *(f"http://{x}" for x in range(200)))
    assert (code, out) == (1, "")
    assert reason in err
    assert "wrong-token" not in err
    assert len(platform.requests) < 200


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"ABACO_BASE_URL": "", "ABACO_TOKEN": ""},
            "ABACO_BASE_URL and ABACO_TOKEN not",
        ),
        ({"ABACO_TOKEN": ""}, "ABACO_TOKEN not set; export ABACO_BASE_URL=https://"),
        ({"ABACO_BASE_URL": "api.example.org"}, "ABACO_BASE_URL is not an http(s) add"),
        ({"ABACO_BASE_URL": "https://me:key@x/"}, "ABACO_BASE_URL is not an http(s)"),
        ({"ABACO_TOKEN": "key\nkey"}, "ABACO_TOKEN is not a token: it has spaces or"),
        ({"ABACO_TOKEN": "key ü"}, "ABACO_TOKEN is not a token"),
    ],
)
def test_wrong_settings_are_exit_code_2(abaco, monkeypatch, settings, reason):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    code, out, err = abaco("logs", "flowers", "run0")
    assert (code, out) == (2, "")
    assert err.startswith(f"poets abaco: {reason}")
    assert "key" not in err


def test_a_platform_that_is_not_there_is_named(abaco, monkeypatch, closed_port):
    monkeypatch.setenv("ABACO_BASE_URL", f"http://127.0.0.1:{closed_port}/actors")
    code, _, err = abaco("logs", "flowers", "run0")
    assert code == 1
    assert err == (
        "poets abaco: GET /actors/flowers/executions/run0/logs: "
        f"127.0.0.1:{closed_port} does not answer (ConnectionError); check "
        "ABACO_BASE_URL\n"
    )


def test_a_server_of_another_kind_is_noticed(abaco, web_server, monkeypatch):
    web_server.files["/actors/flowers/executions/run0/logs"] = b"<html>"
    monkeypatch.setenv("ABACO_BASE_URL", web_server.url("/actors"))
    code, _, err = abaco("logs", "flowers", "run0")
    assert code == 1
    assert "HTTP 200: no answer of Abaco; check ABACO_BASE_URL" in err


def test_a_netrc_does_not_replace_the_token(abaco, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert abaco("submit", "flowers", "http://x")[0] == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("submit", "flowers"), "no messages: give some, or a file of them by --from"),
        (
            ("submit", "flowers", "--from", "/nowhere"),
            "cannot read the messages in '/no",
        ),
        (
            ("submit", "flowers", "x", "--parallel", "0"),
            "--parallel=0: must be 1 to 64",
        ),
        (
            ("submit", "flowers", "x", "--output", "/nowhere/x"),
            "cannot write '/nowhere",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(abaco, platform, words, reason):
    code, out, err = abaco(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"poets abaco: {reason}")
    assert platform.requests == []


def test_ids_are_read_from_fields_and_not_from_links(abaco, platform):
    abaco("submit", "flowers", "http://x")
    assert not re.search("DEV", " ".join(platform.requests))
