"""An image that cannot be read is left out; a storage that fails ends the job."""

import os
import shutil
import threading
from dataclasses import replace

import pytest

from poets.errors import StorageError
from poets.features.process import PLAIN, ImageTask, Worker

pytest_plugins = ["tests.gate"]

SOME = "daisy/24.jpg"  # in the middle of the 40
GONE = ("HEAD", 404, ""), ("GET", 404, "NoSuchBucket")
DENIED = ("HEAD", 403, ""), ("GET", 403, "AccessDenied")


@pytest.fixture
def compute(network, images, tmp_path, wait_until):
    """Returns a function that computes one chunk of all images, in this process."""

    def run(folder, witness=""):
        spec = network.spec(folder, tmp_path / "store")
        worker = Worker(replace(spec, witness=witness))
        tasks = [ImageTask(i.path, i.length, i.mtime_ns, [PLAIN], None) for i in images]
        try:
            worker.expect(tasks)
            return worker.compute(tasks)
        finally:
            worker.close()
            wait_until(lambda: "read" not in [t.name for t in threading.enumerate()])

    return run


@pytest.fixture(scope="module")
def stored(s3_server, pictures):
    """A bucket with the images of `image_dir`."""
    name, client = s3_server.make_bucket(), s3_server.client()
    for number, data in enumerate(pictures):
        key = f"photos/{('daisy', 'tulips')[number % 2]}/{number:02d}.jpg"
        client.put_object(Bucket=name, Key=key, Body=data)
    return name


@pytest.fixture
def bucket(gate, stored):
    """The images, behind the gate."""
    return f"s3://{stored}/photos"


def refusing(answers, after=20, only="photos/"):
    """Returns a gate's rule: from the read of an `after`th picture on, `answers`."""
    read = set()

    def refuse(method, target):
        if target.endswith(".jpg"):
            read.add(target)
        if len(read) <= after or only not in target:
            return None
        return next(((s, c) for m, s, c in answers if m == method), None)

    return refuse


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (
            (("HEAD", 400, ""), ("GET", 400, "ExpiredToken")),
            "the session token has expired; see AWS_ACCESS_KEY_ID",
        ),
        ((("GET", 400, "ExpiredToken"),), "the session token has expired; see AWS_"),
        (
            (("HEAD", 403, ""), ("GET", 403, "InvalidAccessKeyId")),
            "the store does not know this access key; see AWS_ACCESS_KEY_ID",
        ),
        ((("GET", 403, "AccountProblem"),), "closed or suspended; see AWS_ACCESS_KEY"),
        (DENIED, "permission denied by the store: the keys are wrong"),
        (GONE, "the bucket '.*' does not exist"),
        (
            (("HEAD", 301, ""), ("GET", 301, "PermanentRedirect")),
            " 301: the bucket is in another region; set AWS_REGION to it",
        ),
        (
            (("HEAD", 412, ""), ("GET", 412, "Unheard.Of")),
            "the store answered UNHEARD.OF 412: as the test wants it; run again",
        ),
        ((("GET", 403, "InvalidObjectState"),), "the object is archived"),
    ],
)
def test_a_store_that_changes_its_mind_ends_the_job(
    compute, bucket, gate, answers, found
):
    gate.refuse = refusing(answers, only="")
    with pytest.raises(StorageError, match=f"cannot read 's3://.*{found}") as caught:
        compute(bucket)
    assert "what is done so far is kept" in str(caught.value)


def test_images_that_become_forbidden_while_they_can_be_listed_end_the_job(
    compute, bucket, gate
):
    gate.refuse = refusing(DENIED, after=0, only=".jpg")
    with pytest.raises(StorageError, match="cannot read .* as before: permission den"):
        compute(bucket, witness=SOME)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [(DENIED, "permission denied by the store"), (GONE, "no such file or directory")],
)
def test_one_image_of_a_store_that_cannot_be_had_is_left_out(
    compute, bucket, gate, answers, reason
):
    gate.refuse = refusing(answers, after=0, only=f"{SOME}")
    chunk = compute(bucket)
    [rows] = chunk.rows  # of the only network
    assert len(rows) == 39
    ((path, why),) = chunk.unread
    assert path == SOME
    assert why.startswith(reason)


def test_all_images_of_a_chunk_may_be_forbidden(compute, bucket, gate):
    """As in a second run, when all others are known."""
    gate.refuse = refusing(DENIED, after=0, only="/photos/daisy/")
    chunk = compute(bucket, witness="tulips/39.jpg")
    assert len(chunk.unread) == 20


def test_a_folder_that_is_gone_is_not_many_missing_images(compute, image_dir):
    shutil.rmtree(image_dir)
    with pytest.raises(StorageError, match="cannot read .* as before: no such file"):
        compute(image_dir)


def test_a_disk_that_is_unmounted_is_not_many_missing_images(compute, image_dir):
    shutil.rmtree(image_dir)
    image_dir.mkdir()  # as the mount point that is left
    with pytest.raises(StorageError, match="cannot read .* as before: it is empty now"):
        compute(image_dir)


def test_a_disk_that_fails_ends_the_job(compute, image_dir):
    (image_dir / SOME).unlink()
    os.symlink("/proc/self/mem", image_dir / SOME)  # reading its begin is EIO
    with pytest.raises(StorageError, match=f"{SOME}': input/output error; run again"):
        compute(image_dir)
