"""Runs the steps in order, each with a deadline, until one fails."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from poets.doctor import (
    FAILED,
    LEFT_OUT,
    NOT_REACHED,
    OK,
    TIMEOUT_S,
    Checkup,
    Finding,
    Step,
    StepError,
    StepResult,
)
from poets.doctor.security import principal_of
from poets.errors import PoetsError
from poets.storage.calls import deadline
from poets.system.deadline import run_with_deadline

GRACE_S = 0.5
"""Extra time for a step to report its own timeout; it knows what it waited for."""


def diagnose(
    plan: Iterable[tuple[Checkup, tuple[Step, ...]]], timeout_s: float = TIMEOUT_S
) -> Iterator[StepResult]:
    """Yields the outcome of each step, in order and as soon as it is known."""
    failed = False
    for checkup, steps in plan:
        for step in steps:
            about = checkup.storage, step.name, step.checks
            result = StepResult(*about, NOT_REACHED, timeout_s=timeout_s)
            if not failed:
                result = _result(step, checkup, result)
                failed = result.status == FAILED
            yield result


def take(step: Step, checkup: Checkup, timeout_s: float = TIMEOUT_S) -> Finding:
    """Runs a step within its deadline, and returns its finding.

    Raises:
      StepError: if the step fails.
    """

    def check() -> Finding:
        with deadline(timeout_s):
            return step.check(checkup)

    try:
        return run_with_deadline(check, timeout_s + GRACE_S)
    except StepError:
        raise
    except (PoetsError, OSError) as error:
        if isinstance(error, TimeoutError) and not error.args:
            raise StepError(f"no answer within {timeout_s:g} s") from error
        raise StepError.of(error) from error


def _result(step: Step, checkup: Checkup, planned: StepResult) -> StepResult:
    start = time.monotonic()
    try:
        finding = take(step, checkup, planned.timeout_s)
        status = OK if finding.applies else LEFT_OUT
        result = replace(
            planned, status=status, found=finding.text, details=finding.details
        )
    except StepError as error:
        with deadline(GRACE_S):  # known by now, if at all
            principal = principal_of(checkup)
        result = replace(
            planned,
            status=FAILED,
            found=error.found,
            cure=error.cure,
            principal=principal,
        )
    return replace(result, seconds=time.monotonic() - start)
