"""`poets doctor` without HDFS: local folders, object stores, options, mistakes."""

import json

import pytest

from poets.cli import run
from tests.retraining import write_images

pytest_plugins = ["tests.gate"]


@pytest.fixture
def doctor(capsys):
    """Runs the command line in this process; returns exit code, stdout and stderr."""

    def call(*words):
        code = run(["doctor", *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


def test_local_folders(doctor, tmp_path):
    images = write_images(tmp_path / "images")
    code, out, err = doctor(images, "--write", tmp_path / "new" / "out")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "this machine"
    assert f"{images} holds 3 folders and 0 files" in lines[1]
    assert lines[2].startswith("  ok        read ")
    assert f" bytes of {images}/" in lines[2]
    assert f"{tmp_path} is writable" in lines[3]
    assert lines[4].strip() == f"{tmp_path}/new/out can be made"
    assert lines[-1].startswith("all is well (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_file(doctor, tmp_path):
    (tmp_path / "a.txt").write_text("content")
    code, out, _ = doctor(tmp_path / "a.txt")
    assert code == 0
    assert f"{tmp_path}/a.txt is a file of 7 bytes" in out
    assert f"7 bytes of {tmp_path}/a.txt" in out


def test_a_folder_without_files(doctor, tmp_path):
    (tmp_path / "empty").touch()
    code, out, _ = doctor(tmp_path)
    assert code == 0
    assert f"{tmp_path} holds 0 folders and 1 files" in out
    assert "  left out  read " in out
    assert f"no file found in {tmp_path} to try" in out


def test_a_missing_folder(doctor, tmp_path):
    (tmp_path / "flowers").mkdir()
    code, out, _ = doctor(tmp_path / "flours" / "x")
    assert code == 1
    missing = tmp_path / "flours" / "x"
    assert out.partition("\n\n")[2] == (
        "FAILED: list\n"
        f"  found        there is no '{missing}': '{tmp_path}' holds flowers\n"
        "  what to do   put the images there, or name the folder that has them\n"
        "  not reached  read\n"
    )


def test_a_file_in_the_way_of_the_output(doctor, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, out, _ = doctor("--write", tmp_path / "file" / "out")
    assert code == 1
    assert f"FAILED: write\n  found        '{tmp_path}/file' is a file\n" in out
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_write_permission(doctor, unprivileged):
    (unprivileged / "out").mkdir(mode=0o500)
    code, out, _ = doctor("--write", unprivileged / "out")
    assert code == 1
    assert f"cannot write in '{unprivileged}/out': permission denied" in out
    assert "what to do   give this user the permission, or name another folder" in out


def test_folders_are_listed_as_by_the_job(doctor, unprivileged):
    for name in ("rose", "lost+found", "_temporary", "rose/deep"):
        (unprivileged / name).mkdir()
    (unprivileged / "rose" / "1.jpg").write_bytes(b"x")
    (unprivileged / "lost+found").chmod(0)
    (unprivileged / "_temporary").chmod(0)
    code, out, _ = doctor("--json", unprivileged)
    (listing, _) = json.loads(out)["steps"]
    assert code == 0
    assert listing["details"] == [
        "passed over, as by the job: '_temporary', 'lost+found'"
    ]
    (unprivileged / "rose" / "deep").chmod(0)
    code, out, _ = doctor(unprivileged)
    assert code == 1
    assert f"cannot list '{unprivileged}/rose/deep': permission denied\n" in out


def test_json(doctor, tmp_path):
    code, out, err = doctor("--json", "--timeout_s=4", tmp_path)
    found = json.loads(out)
    assert (code, err, found["ok"]) == (0, "", True)
    assert [step["name"] for step in found["steps"]] == ["list", "read"]
    assert {step["timeout_s"] for step in found["steps"]} == {4}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ftp://x/y"], "no storage for 'ftp://x/y': the scheme is 'ftp'; use a local"),
        (
            ["--options=absent.json"],
            "cannot read the options file 'absent.json': No su",
        ),
        (["--set=a=b", "/"], "--set, --arg and --secrets need --options, which they"),
        (
            ["--secrets=x", "/"],
            "--set, --arg and --secrets need --options, which they change",
        ),
    ],
)
def test_mistakes_of_the_user(doctor, words, message):
    code, out, err = doctor(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"poets doctor: {message}")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_deadline_that_is_none(doctor, value):
    code, out, err = doctor(f"--timeout_s={value}", "/")
    assert (code, out) == (2, "")
    found = f"--timeout_s: {value!r} is not a number above 0 and below 1e9"
    assert err == f"poets doctor: wrong flags: {found}\n"


@pytest.fixture
def options(tmp_path):
    """Writes an options file with flags of the job; returns its path."""

    def write(shared_filesystem="", **flags):
        context = json.dumps({"args": {f"--{k}": str(v) for k, v in flags.items()}})
        service = {
            "job_url": "http://127.0.0.1:1/poets.zip",
            "job_name": "poets",
            "job_context": context,
            "shared_filesystem": str(shared_filesystem),
        }
        path = tmp_path / "options.json"
        path.write_text(json.dumps({"service": service}))
        return path

    return write


def test_the_folders_of_an_options_file(doctor, options, tmp_path):
    images = write_images(tmp_path / "images")
    path = options(
        shared_filesystem=tmp_path / "shared",
        image_dir="elsewhere",
        output_graph="<<shared_filesystem>>/graph.pb",
        output_labels="<<shared_filesystem>>/labels.txt",
        bottleneck_dir="in/the/sandbox",
        saved_model_dir="",
        checkpoint_path="",
    )
    code, out, _ = doctor("--options", path, f"--arg=image_dir={images}")
    assert code == 0
    assert f"{images} holds 3 folders" in out
    assert f"{tmp_path} is writable" in out
    assert f"{tmp_path}/shared can be made" in out
    assert "sandbox" not in out, "what is inside a task is not looked at"


def test_options_that_the_job_would_refuse(doctor, options):
    code, out, err = doctor("--options", options(image_dir="/x", learning_rate="0"))
    assert (code, out) == (2, "")
    assert "service.job_context: wrong flags: --learning_rate=0: must be above 0" in err


@pytest.fixture
def store(s3, monkeypatch):
    """The S3 store with a bucket that has a file; returns the bucket's URL."""
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key="in/daisy/1.jpg", Body=b"a picture")
    return f"s3://{bucket}"


def test_s3(doctor, s3, store):
    code, out, err = doctor(f"{store}/in", f"--write={store}/out")
    assert (code, err) == (0, ""), out
    for text in (
        f"keys from AWS_ACCESS_KEY_ID, for http://{s3.address}\n",
        "AWS_REGION=us-east-1\n",
        f"{s3.address} accepts connections\n",
        f"{store}/in holds 1 folders and 0 files\n",
        "9 bytes of ",
        f"{store}/out is writable\n",
    ):
        assert text in out
    assert s3.secret_key not in out
    bucket = store.removeprefix("s3://")
    objects = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
    files = [found["Key"] for found in objects if not found["Key"].endswith("/")]
    assert files == ["in/daisy/1.jpg"]


def test_a_folder_of_s3_that_is_missing(doctor, store):
    code, out, _ = doctor(f"{store}/inn")
    assert code == 1
    assert f"FAILED: list, on {store}\n  found        there is nothing in" in out


def test_a_bucket_that_is_missing(doctor, s3):
    code, out, _ = doctor("s3://absent-bucket/in")
    assert code == 1
    assert "FAILED: list, on s3://absent-bucket\n" in out
    assert "what to do   " in out


def test_a_store_that_is_down(doctor, s3, monkeypatch, closed_port):
    monkeypatch.setenv("S3_ENDPOINT", f"127.0.0.1:{closed_port}")
    code, out, _ = doctor("s3://bucket/in")
    assert code == 1
    assert (
        "FAILED: endpoint, on s3://bucket\n"
        f"  found        cannot reach the store: 127.0.0.1:{closed_port}: connection "
        "refused\n"
        "  what to do   check whether it is up, whether AWS_ENDPOINT_URL or S3_ENDPOINT"
    ) in out


def test_variables_of_s3_that_contradict_each_other(doctor, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example.com")
    code, out, _ = doctor("s3://bucket/in")
    assert code == 1
    assert "FAILED: credentials, on s3://bucket\n  found        cannot use S3" in out
    assert s3.secret_key not in out


def test_the_proxy_of_a_store_is_named_and_used(doctor, s3, gate, store, monkeypatch):
    monkeypatch.setenv("S3_ENDPOINT", s3.address)
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{gate.address}")
    code, out, _ = doctor(f"{store}/in")
    assert code == 0, out
    through = f"go through the proxy http://{gate.address}\n"
    assert f"requests to http://{s3.address} {through}" in out
    assert gate.seen
    assert all(f" http://{s3.address}/" in request for request in gate.seen)
    assert "secret" not in out


@pytest.mark.parametrize(
    ("name", "without"),
    [("HTTPS_PROXY", "host.example"), ("HTTP_PROXY", "127.0.0.1"), ("ALL_PROXY", "*")],
)
def test_a_proxy_that_is_not_for_the_store_is_left_alone(
    doctor, s3, gate, store, monkeypatch, name, without
):
    monkeypatch.setenv("S3_ENDPOINT", s3.address)
    monkeypatch.setenv(name, f"http://{gate.address}")
    monkeypatch.setenv("NO_PROXY", without)
    code, out, _ = doctor(f"{store}/in")
    assert code == 0, out
    assert f"{s3.address} accepts connections\n" in out
    assert not gate.seen


def test_a_proxy_that_is_down(doctor, s3, store, monkeypatch, closed_port):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port}")
    code, out, _ = doctor(f"{store}/in")
    assert code == 1
    assert f"cannot reach the proxy http://127.0.0.1:{closed_port}: 127.0.0.1:" in out
    assert "set NO_PROXY to the store's host if it needs no proxy" in out
