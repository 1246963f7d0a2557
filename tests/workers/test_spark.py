"""A pass on Spark: what its executors leave is what one process alone leaves.

Real executors in their own JVMs, one application for all tests. Whatever is killed or
interrupted, Spark has the rest computed, and nothing twice that the store has.
"""

import functools
import importlib
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import poets
from poets.config import RetrainConfig
from poets.data.dataset import find_images
from poets.errors import ConfigError, PoetsError
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Part, Pool
from poets.features.process import PLAIN, ImageTask
from poets.features.store import part_stem
from poets.preflight import check_shared
from tests.deadly import DEADLY
from tests.packs import ours_tar
from tests.retraining import flags_for, is_running

pytest_plugins = ["tests.finished", "tests.spark_session"]

SAME = (
    *("retrained_graph.pb", "retrained_graph.tflite", "retrained_labels.txt"),
    *("split.csv", "skipped_images.csv", "saved_model/1/saved_model.pb"),
    *("labels.csv", "mistakes.csv", "doubtful_labels.csv", "odd_images.csv"),
)


@pytest.fixture
def on_spark(spark, spark_session):
    """Computes the bottlenecks of a folder by Spark's executors."""
    with Pool(1) as pool:
        workers = spark.SparkWorkers(spark_session, pool)

        yield functools.partial(bottlenecks, workers)


def alone(image_dir, network, store):
    with Pool(1) as pool:
        return bottlenecks(pool, image_dir, network, store)


def bottlenecks(workers, image_dir, network, store):
    found = find_images(str(image_dir))
    spec = replace(network.spec(image_dir, store), packs=found.packs)
    return compute_bottlenecks(found.images, spec, workers)


@pytest.fixture(scope="module")
def undisturbed(large_images, network, tmp_path_factory):
    return alone(large_images, network, tmp_path_factory.mktemp("alone") / "store")


def parts(store):
    return list(store.glob("part-*.parquet"))


def test_a_job_on_spark_leaves_what_it_leaves_alone(finished, spark_session, tmp_path):
    flags = flags_for(tmp_path, finished.image_dir, report=True)
    run = poets.retrain(flags.pop("image_dir"), spark=spark_session, **flags)
    assert run.labels
    for name in SAME:
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()
    assert undated_report(tmp_path) == undated_report(finished.folder)
    skipped = (tmp_path / "skipped_images.csv").read_text()
    assert all(path in skipped for path in finished.broken)
    assert not (tmp_path / "bottlenecks" / ".jobs").exists()


def undated_report(folder):
    """Returns the report without its title and last section: date, times and flags."""
    html = (folder / "report.html").read_text()
    return html[html.index('<section id="summary"') : html.index('<section id="run"')]


def test_a_sweep_on_spark_shares_the_pass(finished, spark_session, tmp_path):
    swept = poets.sweep(
        finished.image_dir,
        {"learning_rate": [0.01, 0.1]},
        spark=spark_session,
        output_dir=tmp_path / "out",
        bottleneck_dir=tmp_path / "bottlenecks",
        architecture="scattering_96",
        how_many_training_steps=20,
        report=False,
    )
    assert len(swept.table) == 2
    assert swept.best.metrics["workers"] == {"tasks": 1, "processes": 2}


def test_a_killed_executor_costs_nothing_but_time(
    in_the_middle,
    on_spark,
    executors,
    large_images,
    network,
    undisturbed,
    tmp_path,
    wait_until,
):
    store, stored = tmp_path / "store", []
    victim, _ = executors()  # looking for them takes as long as a chunk

    def kill():
        os.kill(victim, signal.SIGKILL)
        stored.extend(parts(store))

    thread = in_the_middle(lambda: parts(store), kill)
    found = on_spark(large_images, network, store)
    thread.join(300)
    wait_until(lambda: not is_running(victim))
    assert 0 < len(stored) < len(parts(store))
    np.testing.assert_array_equal(found.matrix, undisturbed.matrix)
    np.testing.assert_array_equal(found.digests, undisturbed.digests)
    assert not list(store.glob("*.done"))
    wait_until(lambda: len(executors()) == 2)


def test_after_ctrl_c_the_session_goes_on_with_what_is_stored(
    in_the_middle, on_spark, spark_session, large_images, network, undisturbed, tmp_path
):
    store = tmp_path / "store"
    thread = in_the_middle(
        lambda: parts(store), lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        on_spark(large_images, network, store)
    thread.join(300)
    found = on_spark(large_images, network, store)
    assert found.computed < len(undisturbed.kept)
    np.testing.assert_array_equal(found.matrix, undisturbed.matrix)
    again = on_spark(large_images, network, store)
    assert again.computed == 0
    np.testing.assert_array_equal(again.matrix, undisturbed.matrix)


def test_a_picture_that_kills_its_process_is_left_out(
    on_spark, network, pictures, tmp_path
):
    for number, data in enumerate(pictures):
        label = tmp_path / "images" / ("daisy", "roses")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.jpg").write_bytes(data + DEADLY * (number == 5))
    found = on_spark(tmp_path / "images", network, tmp_path / "store")
    assert len(found.kept) == len(pictures) - 1
    ((path, why),) = found.skipped
    assert path == "roses/5.jpg"
    assert why.startswith("the process that decoded it died: SIGSEGV: libjpeg")


def test_packs_are_read_as_folders_are(on_spark, network, pictures, tmp_path):
    (tmp_path / "packs").mkdir()
    names = [f"{('daisy', 'roses')[n % 2]}/{n}.jpg" for n in range(len(pictures))]
    ours_tar(tmp_path / "packs", dict(zip(names, pictures, strict=True)))
    found = on_spark(tmp_path / "packs", network, tmp_path / "spark")
    expected = alone(tmp_path / "packs", network, tmp_path / "alone")
    assert (found.computed, found.skipped) == (len(pictures), ())
    np.testing.assert_array_equal(found.matrix, expected.matrix)


def test_a_long_pass_is_several_jobs_of_spark(
    spark, spark_session, network, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(spark, "MAX_JOB", 2)
    jobs, done = [], []
    run = spark.SparkWorkers._run
    monkeypatch.setattr(
        *(spark.SparkWorkers, "_run"),
        lambda self, order, parts, near: (
            jobs.append([part.number for part in parts]),
            run(self, order, parts, near),
        )[1],
    )
    chunks = []
    for number, data in enumerate(pictures[:5]):
        (tmp_path / f"{number}.jpg").write_bytes(data if number != 3 else b"no image")
        chunks.append([ImageTask(f"{number}.jpg", len(data), 1, (PLAIN,), None)])
    spec = network.spec(tmp_path, tmp_path / "store")
    workers = spark.SparkWorkers(spark_session, pool=None)
    assert workers.compute(spec, iter(chunks), done.append, 7) == []
    assert jobs == [[0, 1], [2, 3], [4]]
    assert sum(done) == len(chunks)
    stems = sorted(part.name[:25] for part in parts(tmp_path / "store"))
    assert stems == [part_stem(number) for number in range(7, 12)]


def test_an_error_of_an_executor_is_shown_in_its_own_words(
    spark, spark_session, network, pictures, tmp_path
):
    (tmp_path / "a.jpg").write_bytes(pictures[0])
    (tmp_path / "file").write_text("not a folder")
    spec = network.spec(tmp_path, tmp_path / "file" / "store")
    workers = spark.SparkWorkers(spark_session, pool=None)
    with pytest.raises(PoetsError, match="^an executor of Spark failed: cannot write "):
        workers.compute(spec, [[ImageTask("a.jpg", 1, 1, (PLAIN,), None)]], print, 1)


def test_executors_have_no_tensorflow(spark, spark_session, network, tmp_path):
    spec = network.spec(tmp_path, tmp_path / "store", engine="tensorflow")
    workers = spark.SparkWorkers(spark_session, pool=None)
    with pytest.raises(ConfigError, match="--engine=litert"):
        workers.compute(spec, [[ImageTask("a", 1, 1, (PLAIN,), None)]], print, 1)


def test_another_session_than_a_classic_one_is_refused(spark):
    with pytest.raises(ConfigError, match="SparkSession whose driver is this program"):
        spark.context_of("a session")
    stopped = SimpleNamespace(sparkContext=SimpleNamespace(_jsc=None))
    with pytest.raises(ConfigError, match="has been stopped"):
        spark.context_of(stopped)


@pytest.mark.parametrize(("master", "refused"), [("yarn", True), ("local[2]", False)])
def test_folders_of_one_machine_are_refused_on_a_cluster(spark, master, refused):
    context = SimpleNamespace(master=master, _jsc=object())
    cluster = spark.cluster_like(SimpleNamespace(sparkContext=context))
    config = RetrainConfig(image_dir="/tmp/images", bottleneck_dir="/tmp/store")
    if not refused:
        check_shared(config, cluster)
        return
    with pytest.raises(ConfigError, match="image_dir='/tmp/images'"):
        check_shared(config, cluster)


@pytest.mark.parametrize("processes", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 15, 100])
def test_tasks_hold_every_part_once_and_the_last_are_small(spark, count, processes):
    given = [Part(f"part-{number}", [], number) for number in range(count)]
    tasks = [parts for parts, _ in spark._tasks(given, [()] * count, processes)]
    assert [part for task in tasks for part in task] == given
    sizes = [len(task) for task in tasks]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= spark.MAX_TASK
    assert sizes[-1] == 1


def test_a_task_has_parts_of_the_same_hosts(spark):
    given = [Part(f"part-{number}", [], number) for number in range(100)]
    hosts = [("a", "b")] * 7 + [("c",)] * 50 + [()] * 43
    tasks = spark._tasks(given, hosts, processes=2)
    assert [part for parts, _ in tasks for part in parts] == given
    assert [of_task for parts, of_task in tasks for _ in parts] == hosts
    assert [len(parts) for parts, _ in tasks][:2] == [7, 23]


def test_the_scheduler_gets_the_hosts_of_each_task(spark_session):
    locality = importlib.import_module("poets.workers.locality")
    context = spark_session.sparkContext
    tasks = [([1, 2], ("a", "b")), ([3], ()), ([4], ("c",))]
    made = locality.rdd_of(tasks, context).flatMap(lambda task: [2 * n for n in task])
    assert preferred(context, made) == [["a", "b"], [], ["c"]]
    assert made.collect() == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("start", "hosts"),
    [
        (0, ("a", "b")),
        (127, ("a", "b")),
        (128, ("b", "c")),
        (199, ("b", "c")),
        (200, ()),
        (None, ("a", "b")),
    ],
)
def test_a_picture_is_on_the_hosts_of_its_block(spark, start, hosts):
    locality = importlib.import_module("poets.workers.locality")
    blocks = [(0, 128, ("a", "b")), (128, 72, ("b", "c"))]
    assert locality.hosts_at(blocks, start) == hosts


def preferred(context, rdd):
    """Returns the hosts that Spark's scheduler prefers for each partition."""
    java_rdd, scheduler = rdd._jrdd.rdd(), context._jsc.sc()
    every = range(rdd.getNumPartitions())
    found = [scheduler.getPreferredLocs(java_rdd, number) for number in every]
    return [[each.apply(n).host() for n in range(each.size())] for each in found]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Traceback:\n  in look\nAttributeError: no look\n SQLSTATE",
            "AttributeError: no look",
        ),
        ("Job aborted\n\tat org.apache", "Job aborted"),
    ],
)
def test_other_failures_show_the_line_that_says_most(spark, text, shown):
    assert str(spark.translated(text)) == f"Spark gave up: {shown}"


def test_missing_dependencies_are_named_with_the_cure(spark):
    text = "Traceback ...\nModuleNotFoundError: No module named 'poets'\n SQLSTATE"
    assert str(spark.translated(text)) == (
        "an executor of Spark failed: No module named 'poets'; give the executors "
        "poets and its dependencies, with --archives (docs/spark.md)"
    )
