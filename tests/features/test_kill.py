"""`kill -9` and Ctrl-C at any moment lose at most the parts being written."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from poets.data.dataset import find_images
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.store import Store
from tests.retraining import children_of, is_running
from tests.seeds import seeds

CHIEF = Path(__file__).with_name("chief.py")
ROOT = Path(__file__).parents[2]
COUNT = 400


@pytest.fixture(scope="module")
def many_images(tmp_path_factory, pictures):
    """400 images that differ in what comes after the picture."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        label = folder / ("daisy", "tulips")[number % 2]
        label.mkdir(exist_ok=True)
        data = pictures[number % len(pictures)] + b"%d" % number
        (label / f"{number:03d}.jpg").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def undisturbed(many_images, network, tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    images = find_images(str(many_images)).images
    with Pool(2) as pool:
        return compute_bottlenecks(images, network.spec(many_images, store), pool)


def start(network, many_images, store):
    return subprocess.Popen(
        [
            *(sys.executable, str(CHIEF)),
            network.spec(many_images, store).to_json(),
            "2",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def parts_in(store):
    return list(store.glob("part-*.parquet"))


@pytest.mark.parametrize("seed", seeds(4, always=[1]))
def test_a_killed_run_goes_on_from_there(
    network, many_images, undisturbed, tmp_path, seed, wait_until
):
    store, enough = tmp_path / "store", random.Random(seed).randint(0, 6)
    with start(network, many_images, store) as chief:
        wait_until(lambda: len(children_of(chief.pid)) == 2)
        children = children_of(chief.pid)
        wait_until(
            lambda: len(parts_in(store)) >= enough or chief.poll() is not None,
            poll_s=0.001,
        )
        chief.kill()
        whole = parts_in(store)
        chief.communicate(timeout=300)
    wait_until(lambda: not any(map(is_running, children)))
    kept = Store(str(store), network.size).read_index()
    assert len(parts_in(store)) >= max(len(whole), enough)
    images = find_images(str(many_images)).images
    with Pool(2) as pool:
        again = compute_bottlenecks(images, network.spec(many_images, store), pool)
    assert again.computed == COUNT - len(kept)
    assert np.array_equal(again.digests, undisturbed.digests)
    assert np.array_equal(again.matrix, undisturbed.matrix)
    assert not list(store.glob("*.damaged"))


def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(
    network, many_images, tmp_path, wait_until
):
    store = tmp_path / "store"
    with start(network, many_images, store) as chief:
        wait_until(lambda: len(children_of(chief.pid)) == 2)
        children = children_of(chief.pid)
        wait_until(lambda: parts_in(store), poll_s=0.001)
        for pid in (*children, chief.pid):  # a terminal signals the whole group
            os.kill(pid, signal.SIGINT)
        _, errors = chief.communicate(timeout=300)
    assert not any(map(is_running, children))
    assert "KeyboardInterrupt" in errors or chief.returncode == 0
    assert len(Store(str(store), network.size).read_index())
    assert not list(store.glob("*.damaged"))
