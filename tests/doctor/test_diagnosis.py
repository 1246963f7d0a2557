"""Steps are taken in order, each in its time, until one fails."""

import errno
import json
import threading
from dataclasses import replace

import pytest

from poets.doctor import (
    FAILED,
    LEFT_OUT,
    NOT_REACHED,
    OK,
    Checkup,
    Finding,
    Step,
    StepError,
)
from poets.doctor.checklist import checklist, checkups
from poets.doctor.diagnosis import diagnose, take
from poets.doctor.report import as_json, format_end, format_line
from poets.errors import ConfigError, StorageError
from poets.storage.calls import allowed_s

HERE = Checkup("", ("/in",), ("/out",))


def fine(checkup):
    return Finding("as it should be", ("and more",))


def unused(checkup):
    return Finding("nobody needs it", applies=False)


def broken(checkup):
    raise StepError("the disk is on fire", "call the fire brigade")


def raises(error):
    def check(checkup):
        raise error

    return check


def steps(*checks):
    return tuple(Step(f"step {i}", "it works", c) for i, c in enumerate(checks))


def test_steps_behind_a_failure_are_not_taken():
    taken = []

    def watched(checkup):
        taken.append(checkup)
        return Finding("")

    plan = [(HERE, steps(fine, unused, broken, watched)), (HERE, steps(watched))]
    results = list(diagnose(plan))
    statuses = [result.status for result in results]
    assert statuses == [OK, LEFT_OUT, FAILED, NOT_REACHED, NOT_REACHED]
    assert taken == []
    assert (results[2].found, results[2].cure) == (
        "the disk is on fire",
        "call the fire brigade",
    )


def test_each_step_is_reported_as_soon_as_it_is_known():
    results = diagnose([(HERE, steps(fine, raises(KeyError("not reached"))))])
    assert next(results).status == OK


def test_a_step_that_never_ends_fails_in_time():
    gate = threading.Event()

    def hangs(checkup):
        gate.wait(300)
        return Finding("")

    (result,) = diagnose([(HERE, steps(hangs))], timeout_s=0.1)
    gate.set()
    assert (result.status, result.found) == (FAILED, "no answer within 0.1 s")
    assert result.seconds > 0.1


def test_a_step_s_calls_have_its_deadline():
    seen = []

    def asks(checkup):
        seen.append(allowed_s())
        return Finding("")

    take(Step("", "", asks), HERE, timeout_s=3)
    assert seen == [3]


@pytest.mark.parametrize(
    ("error", "found", "cure"),
    [
        (StorageError("a is gone; look for it"), "a is gone", "look for it"),
        (
            PermissionError(errno.EACCES, "not yours (b; c); ask d; e", "url"),
            "not yours (b; c)",
            "ask d; e",
        ),
        (
            ConnectionError(errno.EIO, "an ( open bracket; mend it"),
            "an ( open bracket",
            "mend it",
        ),
        (TimeoutError(errno.ETIMEDOUT, "too late"), "too late", ""),
        (TimeoutError(), "no answer within 10 s", ""),
    ],
)
def test_an_error_is_reported_as_what_was_found_and_what_to_do(error, found, cure):
    with pytest.raises(StepError) as caught:
        take(*steps(raises(error)), HERE)
    assert (caught.value.found, caught.value.cure) == (found, cure)
    assert str(caught.value) == "; ".join(filter(None, (found, cure)))


def test_the_user_s_mistake_stays_one():
    with pytest.raises(StepError) as caught:
        take(*steps(raises(ConfigError("no"))), HERE)
    assert caught.value.exit_code == 2


def test_what_is_no_error_of_a_storage_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        take(*steps(lambda checkup: 1 / 0), HERE)


def test_a_line_a_step():
    results = [
        replace(result, seconds=0.0)
        for result in diagnose([(HERE, steps(fine, unused, broken, fine))])
    ]
    lines = [format_line(result) for result in results[:3]]
    assert [" ".join(line.split()) for line in lines] == [
        "ok step 0 0.00 s as it should be and more",
        "left out step 1 0.00 s nobody needs it",
        "FAILED step 2 0.00 s",
    ]
    found, more = lines[0].splitlines()
    assert found.index("as it") == more.index("and more") == lines[1].index("nobody")
    assert format_end(results) == (
        "FAILED: step 2\n"
        "  found        the disk is on fire\n"
        "  what to do   call the fire brigade\n"
        "  not reached  step 3"
    )


def test_the_end_of_a_good_checkup():
    assert format_end(list(diagnose([(HERE, steps(fine))]))) == "all is well (0.0 s)"


def test_json_says_all_of_it():
    results = list(diagnose([(HERE, steps(fine, broken, fine))], timeout_s=7))
    data = json.loads(json.dumps(as_json(results)))
    assert data["ok"] is False
    assert [step["status"] for step in data["steps"]] == [OK, FAILED, NOT_REACHED]
    assert data["steps"][0]["details"] == ["and more"]
    assert {step["timeout_s"] for step in data["steps"]} == {7}
    assert as_json(results[:1])["ok"] is True


def test_locations_are_gathered_by_storage_in_their_order():
    found = checkups(
        ["hdfs://default/in", "/here"], ["s3://b/x", "hdfs://default/out", "file:///x"]
    )
    assert found == [
        Checkup("hdfs://default", ("hdfs://default/in",), ("hdfs://default/out",)),
        Checkup("", ("/here",), ("file:///x",)),
        Checkup("s3://b", (), ("s3://b/x",)),
    ]


@pytest.mark.parametrize(
    ("checkup", "names"),
    [
        (Checkup("", ("/in",)), ["list", "read"]),
        (Checkup("", (), ("/out",)), ["write"]),
        (
            Checkup("s3://b", ("s3://b/in",), ("s3://b/out",)),
            ["credentials", "endpoint", "list", "read", "write"],
        ),
        (
            Checkup("gs://b", ("gs://b/in",)),
            ["credentials", "endpoint", "list", "read"],
        ),
        (
            Checkup("viewfs://t", ("viewfs://t/in",)),
            [
                *("client library", "configuration", "authentication", "keytab"),
                *("krb5.conf", "KDC", "ticket", "service ticket", "port", "NameNode"),
                *("list", "read", "ticket lifetime"),
            ],
        ),
    ],
)
def test_steps_that_do_not_apply_are_not_in_the_list(checkup, names):
    assert [step.name for step in checklist(checkup)] == names
