"""Measures one pass over pictures: `python -m benchmarks.one_pass FLAGS`.

The pass is the product's: list, plan, read, decode, resize, network, store, matrix. Its
processes are loaded before, as in a job. With `--limit` the pictures of a local folder
are read, decoded, resized and run through the same network in one process per core, and
nothing else is done.

Prints, as JSON, the images, the seconds, and the CPU seconds of all its processes. On a
machine that others use, compare the CPU: the pass keeps all cores busy.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.inputs import photographs
from benchmarks.limits import START_TIMEOUT_S, cores
from poets.backbones import load_backbone
from poets.data.dataset import find_images
from poets.data.images import decode, resize
from poets.features.compute import compute_bottlenecks
from poets.features.engines import load_engine
from poets.features.models import networks_of
from poets.features.network import Network
from poets.features.pool import Pool
from poets.features.process import Spec
from poets.flags import add_flags, config_from_args, flags_of


def _work(
    paths: list[str],
    network: Network,
    answer: Connection,
    start: "multiprocessing.synchronize.Barrier",
) -> None:
    """Does what no pass can leave out, and sends its seconds and CPU seconds."""
    engine = load_engine(network.engine, network.model_path)

    def run(some: list[str]) -> None:
        for path in some:
            with open(path, "rb") as file:
                pixels = decode(file.read())
            engine.run([resize(pixels, engine.image_size_px)])

    run(paths[:20])
    start.wait(START_TIMEOUT_S)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    run(paths)
    answer.send((time.perf_counter() - began_s, time.process_time() - cpu_s))


def measure_limit(image_dir: Path, network: Network) -> dict[str, float]:
    """Returns the images, seconds and CPU seconds of the least work, on all cores."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(cores())
    paths = [str(path) for path in photographs(image_dir)]
    answers, processes = [], []
    for number in range(cores()):
        answer, send = context.Pipe(duplex=False)
        mine = paths[number :: cores()]
        process = context.Process(target=_work, args=(mine, network, send, start))
        process.start()
        send.close()
        answers.append(answer)
        processes.append(process)
    found = [answer.recv() for answer in answers]
    for process in processes:
        process.join()
    return {
        "images": len(paths),
        "seconds": max(seconds for seconds, _ in found),
        "cpu_s": sum(cpu_s for _, cpu_s in found),
    }


def measure_pass(spec: Spec, index_url: str, pool: Pool) -> dict[str, float]:
    """Returns the images, seconds and CPU seconds of a pass, and of its listing."""
    began_s = time.perf_counter()
    dataset = find_images(spec.image_dir, index_url=index_url)
    listing_s, began_s = time.perf_counter() - began_s, time.perf_counter()
    spec = replace(spec, packs=dataset.packs)
    before_s = cpu_s(os.getpid())
    with pool:
        child_s = [cpu_s(child._process.pid) for child in pool._children]
        found = compute_bottlenecks(dataset.images, spec, pool)
        seconds = time.perf_counter() - began_s
        used_s = sum(cpu_s(child._process.pid) for child in pool._children) - sum(
            child_s
        )
    return {
        "images": len(found.kept),
        "seconds": seconds,
        "cpu_s": used_s + cpu_s(os.getpid()) - before_s,
        "chief_cpu_s": cpu_s(os.getpid()) - before_s,
        "listing_s": listing_s,
    }


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_pass")
    parser.add_argument("--limit", action="store_true")
    add_flags(parser)
    args = parser.parse_args()
    config = config_from_args(*flags_of(args))
    with tempfile.TemporaryDirectory(prefix="poets-pass-") as work:
        pool = None if args.limit else Pool(cores())
        backbone = load_backbone(config)
        stored = replace(config, bottleneck_dir=os.path.join(work, "store"))
        networks = networks_of(stored, backbone, work)
        if pool is None:
            found = measure_limit(Path(config.image_dir), networks[0])
        else:
            spec = Spec(config.image_dir, networks, None, known_content=False)
            for child in pool._children:
                child.prepare(spec)
            found = measure_pass(spec, config.bottleneck_dir, pool)
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
