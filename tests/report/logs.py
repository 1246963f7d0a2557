"""Writes logs as retrain.py and our job do, bare and as schedulers prefix them."""

import io
import random

from poets.report.worker_log import LoggedStep, read_log


def read(log: str | bytes, **options):
    """Returns what is found in a log."""
    data = log.encode() if isinstance(log, str) else log
    return read_log(io.BytesIO(data), "log", **options)


def time_of(second: float) -> str:
    minutes, seconds = divmod(second, 60)
    return f"2026-01-31 12:{int(minutes):02}:{seconds:09.6f}"


def render(steps: list[LoggedStep], first_second: float = 0.0) -> list[str]:
    """Returns the messages that retrain.py logs for these steps."""
    messages = []
    for index, step in enumerate(steps):
        start = f"{time_of(first_second + index)}: Step {step.step}: "
        if step.train_accuracy is not None:
            percent = step.train_accuracy * 100
            messages.append(f"{start}Train accuracy = {percent:.1f}%")
        if step.cross_entropy is not None:
            messages.append(f"{start}Cross entropy = {step.cross_entropy:f}")
        if step.validation_accuracy is not None:
            percent, n = step.validation_accuracy * 100, step.validation_n
            messages.append(f"{start}Validation accuracy = {percent:.1f}% (N={n})")
    return messages


def plain(message: str) -> list[str]:
    return [message]


def doubled(message: str) -> list[str]:
    return [
        f"INFO:tensorflow:{message}",
        f"[2026-01-31 12:00:00,927|tensorflow|INFO]: {message}",
    ]


def ours(message: str) -> list[str]:
    return [f"[worker-0 stderr] {line}" for line in doubled(message)]


def of_a_local_run(message: str) -> list[str]:
    return [f"worker-0           | {line}" for line in doubled(message)]


def coloured(message: str) -> list[str]:
    return [f"\x1b[32mINFO\x1b[0m:tensorflow:{message}\x1b[0m"]


def from_a_pod(message: str) -> list[str]:
    return [f"2026-01-31T12:00:00.123456789Z {message}"]


FORMS = [plain, doubled, ours, of_a_local_run, coloured, from_a_pod]


def random_steps(count: int, seed: int) -> list[LoggedStep]:
    """Returns steps that a log's digits hold exactly."""
    numbers = random.Random(seed)
    return [
        LoggedStep(
            step=10 * index,
            train_accuracy=numbers.randint(0, 1000) / 1000,
            cross_entropy=numbers.randint(0, 9_000_000) / 1_000_000,
            validation_accuracy=numbers.randint(0, 1000) / 1000,
            validation_n=numbers.randint(1, 5000),
        )
        for index in range(count)
    ]
