"""Measures a real secure HDFS on this machine, compared with local files.

Server and client share the cores here, so a pass from HDFS includes the servers' work.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from benchmarks.inputs import FULL, SMALL, photographs
from benchmarks.measurements import Bench
from benchmarks.processes import RunError, run_python
from benchmarks.table import Row
from poets.errors import PoetsError
from tools.hdfs import folder as folders
from tools.hdfs import maven
from tools.hdfs.cluster import SecureHdfs
from tools.kdc.local import LocalKdc

SHARE_OF_LOCAL = 0.85
PUT_PER_S = 500
SMALL_FILES = 4_000
IN_FLIGHT = (1, 8, 16, 32)
INPUT = "/tensorflow_input_data"


def hdfs(bench: Bench) -> Iterator[Row]:
    """Yields put, listing, small reads by backend, and the bottleneck pass."""
    with (
        running_hdfs(bench.work / "hdfs") as (cluster, environment),
        environment_with(environment),
    ):
        small = some_small(bench, SMALL_FILES)
        started_s = time.perf_counter()
        summary = cluster.put(small, f"{INPUT}/small")
        took_s = time.perf_counter() - started_s
        count = _files(small)
        rate = float(re.search(r"([\d,.]+) files/s", summary)[1].replace(",", ""))
        yield Row(
            f"put of {count:,} small files",
            "files/s",
            rate,
            goal=f"{PUT_PER_S} files/s",
            reached=rate >= PUT_PER_S,
        )
        yield Row("  with the start of the program", "files/s", count / took_s)
        yield from _reads(bench, cluster, small)
        yield from _passes(bench, cluster)


def _reads(bench: Bench, cluster: SecureHdfs, small: Path) -> Iterator[Row]:
    web = cluster.settings.address("namenode.http")
    backends = {
        "hdfs-native": cluster.url + f"{INPUT}/small",
        "webhdfs": f"webhdfs://{web}{INPUT}/small",
        "local": str(small),
    }
    for name, url in backends.items():
        for in_flight in IN_FLIGHT:
            found = _read(bench, url, in_flight)
            if in_flight == IN_FLIGHT[0]:
                count = f"{found['files']:,.0f}"
                yield Row(f"listing {count} files, {name}", "s", found["listing_s"])
            figure = f"  small reads, {in_flight} in flight"
            yield Row(figure, "files/s", found["files_per_s"])
            if in_flight == 16:
                yield Row("    CPU of the client for each", "us", found["cpu_us"])


def _passes(bench: Bench, cluster: SecureHdfs) -> Iterator[Row]:
    """Yields the bottleneck pass from HDFS and from a local folder, run alternately."""
    for case in (SMALL, FULL):
        source = bench.inputs(case).image_dir
        cluster.put(source, f"{INPUT}/{case.photographs}")
        rates: dict[str, list[float]] = {"hdfs": [], "local": []}
        for _ in range(bench.sizes.repeats):
            for name, image_dir in (
                ("hdfs", f"{cluster.url}{INPUT}/{case.photographs}"),
                ("local", str(source)),
            ):
                run = bench.retrain(
                    case,
                    bench.sizes.short_steps,
                    cold=True,
                    image_dir=image_dir,
                    what=f"from_{name}",
                )
                rates[name].append(run.images_per_s)
        ours, local = (statistics.median(rates[name]) for name in ("hdfs", "local"))
        yield Row(
            f"bottlenecks from HDFS (limit: from a local folder), {case.photographs}",
            "images/s",
            ours,
            limit=local,
            goal=f"{SHARE_OF_LOCAL:.0%} of the local rate",
            reached=ours >= SHARE_OF_LOCAL * local,
        )


@contextlib.contextmanager
def running_hdfs(folder: Path) -> Iterator[tuple[SecureHdfs, dict[str, str]]]:
    """Gives a new HDFS with a KDC, and the environment of its user tensorflow.

    Raises:
      RunError: if they cannot be started.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        kdc = LocalKdc(folder / "kdc", port=0)
        kdc.start()
        try:
            principal = f"tensorflow@{kdc.realm}"
            kdc.add([principal])
            keytab = kdc.keytab("tensorflow", [principal])
            settings = folders.make(folder / "hdfs", {}, kdc.directory)
            cluster = SecureHdfs(folder / "hdfs", settings, maven.class_path())
            cluster.start()
            try:
                cluster.prepare()
                yield (
                    cluster,
                    {
                        "POETS_HADOOP_CONF": str(cluster.conf_dir),
                        "KRB5_CONFIG": str(kdc.krb5_conf),
                        "KRB5CCNAME": f"FILE:{folder / 'tickets'}",
                        "KRB5_CLIENT_KTNAME": str(keytab),
                        "POETS_KERBEROS_PRINCIPAL": principal,
                    },
                )
            finally:
                cluster.stop()
        finally:
            kdc.stop()
    except PoetsError as error:
        raise RunError(str(error)) from error


@contextlib.contextmanager
def environment_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the measured processes."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _read(bench: Bench, url: str, in_flight: int) -> dict[str, float]:
    log = bench.work / "logs" / "reading.log"
    run = run_python("benchmarks.reading", [url, f"--in_flight={in_flight}"], log)
    return json.loads(run.stdout)


def some_small(bench: Bench, count: int) -> Path:
    """Returns a folder with `count` small photographs, or all if there are less."""
    count = min(count, _count(bench))
    folder = bench.work / f"small_{count}"
    for path in islice(photographs(bench.inputs(SMALL).image_dir), count):
        copy = folder / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(path, copy)
    return folder


def _count(bench: Bench) -> int:
    return sum(1 for _ in photographs(bench.inputs(SMALL).image_dir))


def _files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())
