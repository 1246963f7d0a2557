"""A process that dies takes nothing with it but the image that killed it."""

import os
import signal
import textwrap
from dataclasses import replace

import pytest

from poets.errors import PoetsError
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.process import PLAIN, ImageTask
from poets.features.store import Store
from tests.deadly import DEADLY, DEADLY_DECODER
from tests.retraining import children_of, is_running

pytest_plugins = ["tests.far"]


def chunks_of(images, size):
    tasks = [ImageTask(i.path, i.length, i.mtime_ns, (PLAIN,), None) for i in images]
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def stored(spec, network):
    index = Store(spec.store_url, network.size).read_index()
    return set(index.paths.to_pylist())


def shadow(monkeypatch, folder, module, code):
    """Puts a module before the installed one, for processes started from now on."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_image_is_computed_once_by_any_number_of_processes(
    network, image_dir, images, tmp_path, processes
):
    done = []
    spec = network.spec(image_dir, tmp_path / "store")
    with Pool(processes) as pool:
        assert pool.compute(spec, chunks_of(images, 7), done.append, 1) == []
    assert sum(done) == 40
    assert stored(spec, network) == {image.path for image in images}


def test_a_process_killed_in_the_middle_is_replaced(
    network, image_dir, images, tmp_path, caplog
):
    spec = network.spec(image_dir, tmp_path / "store")
    others = set(children_of(os.getpid()))
    with Pool(2) as pool:
        first = sorted(set(children_of(os.getpid())) - others)
        pool.compute(
            spec, chunks_of(list(images)[:2], 1), lambda count: None, 1
        )  # both are loaded
        done = []

        def advance(count):
            if not done:
                os.kill(first[0], signal.SIGKILL)
            done.append(count)

        assert pool.compute(spec, chunks_of(images, 2), advance, 1) == []
        replaced = set(children_of(os.getpid())) - others - set(first)
    assert sum(done) == 40
    assert stored(spec, network) == {image.path for image in images}
    assert len(replaced) <= 1  # none, if the other process had taken all the rest
    assert len(replaced) == caplog.text.count("a process died: SIGKILL")


def test_an_image_that_kills_is_left_out_and_the_others_of_its_part_are_not(
    network, image_dir, images, tmp_path, pictures, monkeypatch, caplog
):
    shadow(monkeypatch, tmp_path / "shadow", "simplejpeg", DEADLY_DECODER)
    names = ("daisy/02.jpg", "daisy/06.jpg")
    for name in names:
        (image_dir / name).write_bytes(pictures[0] + DEADLY)
    spec = network.spec(image_dir, tmp_path / "store")
    few = images.take(range(4))  # a process dies for each time that they are halved
    with Pool(2) as pool:
        found = compute_bottlenecks(few, spec, pool)
    reasons = dict(found.skipped)
    assert reasons.keys() == {*names}
    for why in reasons.values():
        assert why == (
            "the process that decoded it died: SIGSEGV: libjpeg: the sky is falling"
        )
    assert len(found.kept) == 2
    assert "a process died: SIGSEGV: libjpeg: the sky is falling" in caplog.text


def test_processes_that_do_not_start_say_why(
    network, image_dir, images, tmp_path, monkeypatch
):
    code = "raise ImportError('libXNNPACK.so: wrong ELF class')"
    shadow(monkeypatch, tmp_path / "shadow", "simplejpeg", code)
    spec = network.spec(image_dir, tmp_path / "store")
    with (
        Pool(2) as pool,
        pytest.raises(
            PoetsError,
            match="a process that computes bottlenecks does not start: exit code 1: "
            "ImportError: libXNNPACK.so: wrong ELF class",
        ),
    ):
        compute_bottlenecks(images, spec, pool)


def test_a_model_that_does_not_load_is_named(network, image_dir, images, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"bad")
    spec = network.spec(image_dir, tmp_path / "store")
    bad = replace(spec.networks[0], model_path=str(tmp_path / "bad.tflite"))
    spec = replace(spec, networks=(bad,))
    with (
        Pool(1) as pool,
        pytest.raises(PoetsError, match=r"bad.tflite' is not a LiteRT model"),
    ):
        compute_bottlenecks(images, spec, pool)


def test_a_store_that_goes_away_in_the_middle_stops_the_run(
    network, image_dir, images, tmp_path
):
    spec = network.spec(image_dir, tmp_path / "store")

    def advance(count):
        if (tmp_path / "store").is_dir():
            (tmp_path / "store").rename(tmp_path / "kept")
            (tmp_path / "store").write_text("no folder any more")

    with (
        Pool(1) as pool,
        pytest.raises(PoetsError, match=r"cannot (write|publish) '.*/store/"),
    ):
        pool.compute(spec, chunks_of(images, 5), advance, 1)
    assert 1 <= len(list((tmp_path / "kept").glob("part-*"))) < 8


def test_processes_end_with_the_pool():
    others = set(children_of(os.getpid()))
    with Pool(2):
        started = set(children_of(os.getpid())) - others
        assert len(started) == 2
    assert not any(map(is_running, started))


def test_processes_end_with_the_pool_after_an_error():
    others = set(children_of(os.getpid()))
    with pytest.raises(ZeroDivisionError), Pool(2):  # noqa: PT012
        started = set(children_of(os.getpid())) - others
        raise ZeroDivisionError
    assert not any(map(is_running, started))


def test_a_storage_that_fails_ends_the_run_and_not_the_pool(
    network, image_dir, images, tmp_path, far
):
    spec = network.spec(far.url(image_dir), far.url(tmp_path / "store"))
    far.fail({"/06.jpg": "ConnectionError"})
    with Pool(2) as pool:
        with pytest.raises(PoetsError, match="cannot read 'far://.*/06.jpg': nobody"):
            pool.compute(spec, chunks_of(images, 5), lambda count: None, 1)
        far.fail({})
        assert pool.compute(spec, chunks_of(images, 5), lambda count: None, 1) == []
    assert stored(spec, network) == {image.path for image in images}


def test_nothing_waits_while_there_is_something_to_compute(
    network, image_dir, images, tmp_path, far
):
    """Reads of the next images overlap with the 5 requests that write a part."""
    far.wait(0.1)
    spec = network.spec(far.url(image_dir), far.url(tmp_path / "store"))
    with far.at_once(4), Pool(1) as pool:
        pool.compute(spec, chunks_of(images, 2), lambda count: None, 1)
