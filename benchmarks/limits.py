"""Measures the machine's limit for a bottleneck pass: decode only and forward only.

    decode    JPEG bytes in memory to pixels, with the product's decoder
    forward   pixels in memory to a bottleneck, LiteRT, one interpreter per process,
              one thread each, batch 1

Each is measured separately, with one process per core. An image needs both, on the
same cores, so the limit of a pass that does nothing else is

    limit = 1 / (1 / decode + 1 / forward)        images per second, all cores

A real pass also resizes, scales, reads and writes, so it stays below the limit.

    python -m benchmarks.limits --image_dir flower_photos --graph frozen_graph.pb

The limit of a server (`--tflite`) is decoding, resizing and the network on one picture
after the other, as in `one_pass --limit` but from memory. It is by CPU time: a load
generator has its share of the same cores.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import simplejpeg
from ai_edge_litert.interpreter import Interpreter

from benchmarks.inputs import photographs
from poets.data.images import decode, resize
from poets.features.engines import load_engine

INPUT, BOTTLENECK = "input:0", "MobilenetV1/Predictions/Reshape:0"
MAX_IMAGES = 1000  # held in memory by each process
ROUNDS = 3
START_TIMEOUT_S = 120.0


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def convert(graph: Path) -> bytes:
    """Returns the frozen backbone, input to bottleneck, as a LiteRT model."""
    import tensorflow as tf  # not in the measuring processes

    v1 = tf.compat.v1
    graph_def = v1.GraphDef.FromString(graph.read_bytes())
    wrapped = v1.wrap_function(lambda: v1.import_graph_def(graph_def, name=""), [])
    function = wrapped.prune(INPUT, BOTTLENECK)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [function], wrapped
    ).convert()


def decoder(jpegs: list[bytes]) -> Callable[[int], None]:
    """Returns a function that decodes the i-th image."""

    def decode_one(i: int) -> None:
        simplejpeg.decode_jpeg(jpegs[i % len(jpegs)])

    return decode_one


def scorer(given: tuple[list[bytes], str]) -> Callable[[int], None]:
    """Returns a function that runs a model on the i-th image."""
    jpegs, model_path = given
    engine = load_engine("litert", model_path)

    def score(i: int) -> None:
        pixels = decode(jpegs[i % len(jpegs)])
        engine.run([resize(pixels, engine.image_size_px)])

    return score


def forwarder(model: bytes) -> Callable[[int], None]:
    """Returns a function that runs the backbone on one image of noise."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    [feed], [fetch] = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(0).uniform(-1, 1, feed["shape"]).astype(np.float32)

    def forward(i: int) -> None:
        interpreter.set_tensor(feed["index"], image)
        interpreter.invoke()
        interpreter.get_tensor(fetch["index"])

    return forward


def _measure(
    make: Callable[..., Callable[[int], None]],
    argument: object,
    round_s: float,
    clock: Callable[[], float],
    answer: Connection,
    start: "multiprocessing.synchronize.Barrier",
) -> None:
    """Sends the images per second of one process, once per round."""
    work = make(argument)
    for i in range(20):
        work(i)
    for _ in range(ROUNDS):
        start.wait(START_TIMEOUT_S)
        done, began_s = 0, clock()
        while (elapsed_s := clock() - began_s) < round_s:
            for i in range(done, done + 10):
                work(i)
            done += 10
        answer.send(done / elapsed_s)


def rate(
    make: Callable[..., Callable[[int], None]],
    argument: object,
    round_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Returns images per second over all cores, the median of the rounds."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(cores())
    processes, answers = [], []
    for _ in range(cores()):
        answer, send = context.Pipe(duplex=False)
        process = context.Process(
            target=_measure, args=(make, argument, round_s, clock, send, start)
        )
        process.start()
        send.close()  # so that `recv` ends if the process dies
        processes.append(process)
        answers.append(answer)
    rounds = [sum(answer.recv() for answer in answers) for _ in range(ROUNDS)]
    for process in processes:
        process.join()
    return statistics.median(rounds)


def measure_limit(image_dir: Path, graph: Path, round_s: float) -> dict[str, float]:
    """Returns decode, forward and limit in images per second over all cores."""
    paths = list(photographs(image_dir))
    paths = paths[:: -(-len(paths) // MAX_IMAGES)]
    decode = rate(decoder, [path.read_bytes() for path in paths], round_s)
    forward = rate(forwarder, convert(graph), round_s)
    return {
        "cores": cores(),
        "decode_per_s": decode,
        "forward_per_s": forward,
        "limit_per_s": 1 / (1 / decode + 1 / forward),
    }


def measure_served(image_dir: Path, tflite: Path, round_s: float) -> dict[str, float]:
    """Returns the limit of a server in images per second, by CPU time.

    Args:
      image_dir: the photographs.
      tflite: the model that it serves.
      round_s: CPU seconds of each round.
    """
    jpegs = [path.read_bytes() for path in photographs(image_dir)][:MAX_IMAGES]
    given = jpegs, str(tflite)
    return {"limit_per_s": rate(scorer, given, round_s, time.process_time)}


def main() -> None:
    """Parses the flags, measures and prints the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits")
    parser.add_argument("--image_dir", type=Path, required=True)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--graph", type=Path, help="of a pass")
    model.add_argument("--tflite", type=Path, help="of a server")
    parser.add_argument("--round_s", type=float, default=2.0)
    flags = parser.parse_args()
    if flags.tflite:
        limit = measure_served(flags.image_dir, flags.tflite, flags.round_s)
    else:
        limit = measure_limit(flags.image_dir, flags.graph, flags.round_s)
    print(json.dumps(limit))


if __name__ == "__main__":
    main()
