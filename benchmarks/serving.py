"""Measures the model server: over loopback, 32 connections, a picture a request.

The generator of the load has cores in common with the server. So rates are those of
the server's own CPU time, times the cores: what it would answer if the generator took
none. The limit is by CPU time, too. The rate that was seen is in a row of its own.
"""

import json
import logging
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.inputs import FULL, SMALL, Case, photographs
from benchmarks.limits import cores
from benchmarks.measurements import Bench
from benchmarks.processes import RunError, run_python
from benchmarks.servers import OTHERS, Model, Server, constant, ours
from benchmarks.table import Row

log = logging.getLogger(__name__)

SHARE_OF_LIMIT = {"gRPC": 0.8, "REST, Base64 in JSON": 0.7, "REST, picture": 0.7}
LOAD = 0.7
"""Share of the highest rate at which latencies are measured."""

TIMES_SERVICE = 10
START_S = 1.0
MEMORY_GROWTH = 1.1


@dataclass(frozen=True)
class Answers:
    """What the load generator saw, and what it cost.

    Attributes:
      per_s: answers per second.
      p50_ms, p99_ms: latencies.
      server_us, generator_us: CPU time for each answer.
      count: answers.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    server_us: float
    generator_us: float
    count: int

    @property
    def of_cpu_per_s(self) -> float:
        """Answers per second if the server had all cores to itself."""
        return cores() * 1e6 / self.server_us


def serving(bench: Bench) -> Iterator[Row]:
    """Yields rates, latencies, start and memory of the server, and of two others."""
    for case in (SMALL, FULL):
        yield from _of_case(bench, case)


def _of_case(bench: Bench, case: Case) -> Iterator[Row]:
    found = bench.inputs(case)
    model = _model(bench, case)
    limits, starts_s = [], []
    runs: dict[str, list[Answers]] = {name: [] for name in SHARE_OF_LIMIT}
    load = partial(_load, bench, found.image_dir)
    for _ in range(bench.sizes.repeats):
        limits.append(_limit(bench, found.image_dir, model))
        with ours(model, bench.work / "logs" / "serve.log") as server:
            starts_s.append(server.start_s)
            load(server, *_ways(server)["gRPC"])  # until all its processes have loaded
            for name, answers in runs.items():
                answers.append(load(server, *_ways(server)[name]))
    limit = statistics.median(limits)
    for name, goal in SHARE_OF_LIMIT.items():
        reached = [a.of_cpu_per_s / b for a, b in zip(runs[name], limits, strict=True)]
        yield Row(
            f"served by {name}, {found.name}",
            "images/s",
            statistics.median(reached) * limit,
            limit=limit,
            goal=f"{goal:.0%} of the limit",
            reached=statistics.median(reached) >= goal,
        )
        yield from _details(runs[name])
    yield from _floors(bench, model, load, limit)
    for other, start in OTHERS.items():
        yield from _of_other(bench, other, start, model, load, limit)
    rates = {name: _median(runs[name], "per_s") for name in runs}
    with ours(model, bench.work / "logs" / "serve.log") as server:
        yield from _latencies(_ways(server), rates, partial(load, server))
        yield from _memory(bench, server, load)
    start_s = statistics.median(starts_s)
    yield Row(
        "  from start to first answer",
        "s",
        start_s,
        goal=f"under {START_S:g} s",
        reached=start_s < START_S,
    )


def _ways(server: Server) -> dict[str, list[str]]:
    """Returns the arguments of `benchmarks.load` for each way to ask."""
    asked = [server.grpc], [server.http, "--body=json"], [server.http]
    return dict(zip(SHARE_OF_LIMIT, asked, strict=True))


def _details(runs: list[Answers]) -> Iterator[Row]:
    yield Row(
        "    seen, with the generator on the same cores", "/s", _median(runs, "per_s")
    )
    yield Row("    CPU of the server, each", "us", _median(runs, "server_us"))
    yield Row(
        "    CPU of the load generator, each", "us", _median(runs, "generator_us")
    )


def _floors(
    bench: Bench, model: Model, load: Callable[..., Answers], limit: float
) -> Iterator[Row]:
    """Yields the most that the libraries allow: the limit after what they cost."""
    with constant(model, bench.work / "logs" / "constant.log") as server:
        for name, way in _ways(server).items():
            answers = load(server, *way)
            most = 1 / (1 / limit + 1 / answers.of_cpu_per_s)
            yield Row(f"  a constant by {name}, each", "us", answers.server_us)
            yield Row("    the most that this leaves", "images/s", most, limit=limit)


def _latencies(
    ways: dict[str, list[str]], rates: dict[str, float], load: Callable[..., Answers]
) -> Iterator[Row]:
    """Yields latencies under load, compared with those of one request at a time."""
    for name, way in ways.items():
        alone = load(*way, "--connections=1")
        loaded = load(*way, f"--rate_per_s={LOAD * rates[name]}")
        yield Row(f"  {name}, one at a time, p50", "ms", alone.p50_ms)
        yield Row(f"    at {LOAD:.0%} load, p50", "ms", loaded.p50_ms)
        yield Row(
            f"    at {LOAD:.0%} load, p99",
            "ms",
            loaded.p99_ms,
            goal=f"under {TIMES_SERVICE} x one at a time",
            reached=loaded.p99_ms < TIMES_SERVICE * alone.p50_ms,
        )


def _memory(
    bench: Bench, server: Server, load: Callable[..., Answers]
) -> Iterator[Row]:
    before_mb = server.memory_mb
    count = bench.sizes.served_images
    given = [f"--count={count}", f"--seconds={bench.sizes.served_s}"]
    answers = load(server, *_ways(server)["REST, picture"], *given)
    growth = server.memory_mb / before_mb
    yield Row("  memory of all its processes", "MB", server.memory_mb)
    yield Row(
        f"    after {answers.count:,} more requests, to before",
        "ratio",
        growth,
        goal=f"at most {MEMORY_GROWTH:g}",
        reached=growth <= MEMORY_GROWTH,
    )


def _of_other(
    bench: Bench,
    name: str,
    start: Callable[..., AbstractContextManager[Server]],
    model: Model,
    load: Callable[..., Answers],
    limit: float,
) -> Iterator[Row]:
    try:
        with start(model, bench.work / "logs" / "other.log") as server:
            answers = load(server, server.http, "--body=json")
            yield Row(f"  {name}", "images/s", answers.of_cpu_per_s, limit=limit)
            yield from _details([answers])
            yield Row("    from start to first answer", "s", server.start_s)
    except RunError as error:
        log.warning("%s is left out: %s", name, error)


def _load(bench: Bench, image_dir: Path, server: Server, *arguments: str) -> Answers:
    before_s = server.cpu_s
    flags = [*arguments, f"--image_dir={image_dir}", "--warm_up_s=0"]
    if not any(word.startswith("--seconds") for word in flags):
        flags.append(f"--seconds={bench.sizes.load_s}")
    run = run_python("benchmarks.load", flags, bench.work / "logs" / "load.log")
    found = json.loads(run.stdout)
    if set(found["statuses"]) - {"200", "OK"}:
        raise RunError(f"not all requests were answered: {found['statuses']}")
    count = found["requests"]
    return Answers(
        found["per_s"],
        found["p50_ms"],
        found["p99_ms"],
        (server.cpu_s - before_s) / count * 1e6,
        found["cpu_s"] / count * 1e6,
        count,
    )


def _limit(bench: Bench, image_dir: Path, model: Model) -> float:
    """Returns images per second of decoding, resizing and the network alone."""
    tflite = model.graph.with_suffix(".tflite")
    flags = [f"--image_dir={image_dir}", f"--tflite={tflite}", "--round_s=1"]
    run = run_python("benchmarks.limits", flags, bench.work / "logs" / "limits.log")
    return json.loads(run.stdout)["limit_per_s"]


def _model(bench: Bench, case: Case) -> Model:
    out = bench.retrain(case, bench.sizes.short_steps, what="serving").out
    graph, onnx = out / "retrained_graph.pb", out / "converted.onnx"
    run_python(
        "tf2onnx.convert",
        [
            *("--graphdef", graph, "--output", onnx, "--opset", "17"),
            *("--inputs", "input:0", "--ignore_default", "input"),
            *("--outputs", "final_result:0"),
        ],
        bench.work / "logs" / "onnx.log",
    )
    picture = next(photographs(bench.inputs(case).image_dir)).read_bytes()
    return Model(graph, onnx, case.image_size_px, picture)


def _median(runs: list[Answers], figure: str) -> float:
    return statistics.median(getattr(run, figure) for run in runs)
