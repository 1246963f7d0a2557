"""Measures pictures in packs: packing, and passes from HDFS, local packs and folders.

All passes and the machine's limit (`benchmarks.one_pass`) run in turn. Server and
client share the cores, so a pass from HDFS includes the servers' work; their CPU is
shown apart.
"""

import json
import logging
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from benchmarks.inputs import FULL, SMALL, Case, write_many
from benchmarks.measurements import Bench
from benchmarks.one_pass import cpu_s
from benchmarks.processes import run_python
from benchmarks.storage import INPUT, environment_with, running_hdfs, some_small
from benchmarks.table import Row
from tools.hdfs.cluster import SecureHdfs

log = logging.getLogger(__name__)

TURNS = 5
SHARE_OF_FOLDERS, SHARE_OF_LIMIT = 0.85, 0.9
REQUESTS_PER_IMAGE = 0.01
PACKED_PER_S = 500
PACKED_FILES = 4_000
READING = ("GetBlockLocations", "GetFileInfo", "GetListing")
"""Requests of a client that reads; DataNodes make others all the time."""

PLACES = ("folders", "packs", "hdfs", "limit")


@dataclass(frozen=True)
class Turn:
    """One pass: images a second, CPU seconds of the client and of HDFS, requests."""

    per_s: float
    client_s: float
    servers_s: float
    requests: float
    images: int


def packs(bench: Bench) -> Iterator[Row]:
    """Yields packing from HDFS to HDFS, and passes by where the pictures are."""
    with (
        running_hdfs(bench.work / "hdfs") as (cluster, environment),
        environment_with(environment),
    ):
        yield from _packing(bench, cluster)
        for case, count in zip((SMALL, FULL), bench.sizes.pass_images, strict=True):
            yield from _passes(bench, cluster, case, count)


def _packing(bench: Bench, cluster: SecureHdfs) -> Iterator[Row]:
    small = some_small(bench, PACKED_FILES)
    cluster.put(small, f"{INPUT}/to_pack")
    home = f"{cluster.url}/tensorflow"
    began_s = time.perf_counter()
    line = _poets(bench, "pack", f"{cluster.url}{INPUT}/to_pack", f"{home}/packed")
    rate = int(line.split(" packs, ")[1].split(" ")[0].replace(",", ""))
    rate /= time.perf_counter() - began_s
    yield Row(
        "packing small files from HDFS to HDFS, with the program's start",
        "images/s",
        rate,
        goal=f"{PACKED_PER_S} images/s",
        reached=rate >= PACKED_PER_S,
    )


def _passes(bench: Bench, cluster: SecureHdfs, case: Case, count: int) -> Iterator[Row]:
    folders = write_many(
        bench.inputs(case).image_dir, count, bench.work / f"passes_{count}"
    )
    local = bench.work / f"packs_{count}"
    shutil.rmtree(local, ignore_errors=True)
    far = f"{cluster.url}/tensorflow/packs_{count}"
    for target in (str(local), far):
        _poets(bench, "pack", str(folders), target)
    places = {"folders": str(folders), "packs": str(local), "hdfs": far}
    places["limit"] = str(folders)
    turns: dict[str, list[Turn]] = {place: [] for place in PLACES}
    for _ in range(TURNS if bench.sizes.repeats > 1 else 1):
        for place in PLACES:
            turns[place].append(_turn(bench, cluster, case, places[place], place))
    yield from _rows(f"{count:,} photographs, {case.architecture}", turns)


def _rows(name: str, turns: dict[str, list[Turn]]) -> Iterator[Row]:
    rates = {
        place: statistics.median(turn.per_s for turn in turns[place])
        for place in PLACES
    }
    for place, of, share in (
        ("folders", "limit", SHARE_OF_LIMIT),
        ("packs", "folders", 1.0),
        ("hdfs", "folders", SHARE_OF_FOLDERS),
    ):
        yield Row(
            f"pass from {place} (limit: {of}), {name}",
            "images/s",
            rates[place],
            limit=rates[of],
            goal=f"{share:.0%} of {of}",
            reached=rates[place] >= share * rates[of],
        )
    for place in PLACES:
        each = turns[place]
        cpu_us = statistics.median(turn.client_s / turn.images for turn in each) * 1e6
        yield Row(f"  CPU of the client for an image, {place}", "us", cpu_us)
    servers_us = statistics.median(t.servers_s / t.images for t in turns["hdfs"]) * 1e6
    yield Row("  CPU of the servers for an image, hdfs", "us", servers_us)
    requests_each = max(turn.requests / turn.images for turn in turns["hdfs"])
    yield Row(
        "  requests to the NameNode for an image",
        "",
        requests_each,
        goal=f"under {REQUESTS_PER_IMAGE:g}",
        reached=requests_each < REQUESTS_PER_IMAGE,
    )


def _turn(
    bench: Bench, cluster: SecureHdfs, case: Case, image_dir: str, place: str
) -> Turn:
    pids = [daemon.pid for daemon in cluster.daemons if daemon.pid]
    asked, servers_s = _requests(cluster), sum(map(cpu_s, pids))
    models = bench.work / "models_of_passes"
    models.mkdir(exist_ok=True)
    shutil.copy(bench.inputs(case).archive, models)
    run = run_python(
        "benchmarks.one_pass",
        [
            f"--image_dir={image_dir}",
            f"--architecture={case.architecture}",
            f"--model_dir={models}",
            f"--bottleneck_dir={bench.work / 'index_of_passes'}",
            *(["--limit"] if place == "limit" else []),
        ],
        bench.work / "logs" / f"pass_{place}.log",
    )
    found = json.loads(run.stdout)
    turn = Turn(
        found["images"] / found["seconds"],
        found["cpu_s"],
        sum(map(cpu_s, pids)) - servers_s,
        _requests(cluster) - asked,
        found["images"],
    )
    log.info("%s, %s: %s", case.architecture, place, turn)
    return turn


def _requests(cluster: SecureHdfs) -> int:
    """Returns how many requests to read the NameNode answered, by its metrics."""
    from requests_kerberos import OPTIONAL, HTTPKerberosAuth  # of the extra `webhdfs`

    answer = requests.get(
        f"http://{cluster.settings.address('namenode.http')}/jmx",
        params={"qry": "Hadoop:service=NameNode,name=RpcDetailedActivityForPort*"},
        auth=HTTPKerberosAuth(mutual_authentication=OPTIONAL),
        timeout=60,
    )
    answer.raise_for_status()
    return sum(
        int(count)
        for bean in answer.json()["beans"]
        for name, count in bean.items()
        if name.removesuffix("NumOps") in READING
    )


def _poets(bench: Bench, *words: str) -> str:
    return run_python("poets", words, bench.work / "logs" / f"{words[0]}.log").stdout
