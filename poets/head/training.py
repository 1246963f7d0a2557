"""Trains one head, and logs its progress in the original's format.

2017-11-22 10:15:30.123456: Step 490: Train accuracy = 91.0%
2017-11-22 10:15:30.123456: Step 490: Cross entropy = 0.364126
2017-11-22 10:15:30.198765: Step 490: Validation accuracy = 84.0% (N=100)
"""

import datetime
import logging
from collections.abc import Callable

from poets.config import RetrainConfig
from poets.errors import ModelError
from poets.head import Head
from poets.head.examples import Examples
from poets.head.many import Evaluation, HeadPlan, train_many
from poets.head.summaries import Summaries

logger = logging.getLogger(__name__)


def train_head(
    train: Examples,
    validation: Examples,
    num_labels: int,
    config: RetrainConfig,
    summaries: Summaries,
    store_intermediate: Callable[[int, Head], None],
) -> tuple[Head, int, tuple[Evaluation, ...]]:
    """Trains a head, logs its progress, and writes its event files.

    Args:
      train, validation, num_labels: see `train_many`.
      config: steps, rates, sizes, seed.
      summaries: the event files.
      store_intermediate: called with the step and the head so far.

    Returns:
      The head, the number of steps run, and the evaluations.

    Raises:
      ModelError: if its weights become infinite or NaN.
    """

    def report(evaluation: Evaluation) -> None:
        _log(evaluation)
        evaluation.record(summaries)

    plan = HeadPlan(config, report, store_intermediate)
    (outcome,) = train_many(train, validation, num_labels, [plan])
    if outcome.head is None:
        raise ModelError(outcome.failure)
    if outcome.stopped:
        logger.info(
            "no better validation accuracy in %d evaluations: training stops at step "
            "%d",
            config.patience,
            outcome.steps - 1,
        )
    return outcome.head, outcome.steps, outcome.evaluations


def _log(evaluation: Evaluation) -> None:
    for text in (
        f"Train accuracy = {evaluation.train_accuracy:.1%}",
        f"Cross entropy = {evaluation.train_entropy:f}",
        f"Validation accuracy = {evaluation.accuracy:.1%} (N={evaluation.n})",
    ):
        logger.info("%s: Step %d: %s", datetime.datetime.now(), evaluation.step, text)
