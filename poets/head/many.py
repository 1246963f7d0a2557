"""Trains heads of one data set together, each with the same result as alone.

    plans ─> those of one schedule ─> batches, steps ─> evaluate each ─> outcomes
                                          ^                  │
                                          └──────────────────┘ until all have ended

Every head has its own rates, seed, batches, label weights and patience. If the weights
of a head become infinite or NaN, it has failed, and the others continue.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poets.config import RetrainConfig
from poets.head import Head
from poets.head.discriminant import clearly_better, discriminant
from poets.head.examples import Examples
from poets.head.steps import HeadSteps
from poets.head.summaries import Summaries


@dataclass(frozen=True)
class Evaluation:
    """The accuracy and cross entropy of a head after a step.

    Attributes:
      step: from 0.
      train_accuracy: of the step's batch, 0 to 1.
      train_entropy: mean cross entropy of the batch, in nats.
      accuracy: of the validation images drawn, 0 to 1.
      entropy: their mean cross entropy, in nats.
      n: the number of these images.
    """

    step: int
    train_accuracy: float
    train_entropy: float
    accuracy: float
    entropy: float
    n: int

    def record(self, summaries: Summaries) -> None:
        """Adds the evaluation to the event files."""
        summaries.add("train", self.step, self.train_accuracy, self.train_entropy)
        summaries.add("validation", self.step, self.accuracy, self.entropy)


@dataclass(frozen=True)
class HeadPlan:
    """A head to train.

    Attributes:
      config: steps, rates, sizes, seed.
      report: called with each evaluation.
      store: called with a step and the head so far, as often as the flags ask.
    """

    config: RetrainConfig
    report: Callable[[Evaluation], None]
    store: Callable[[int, Head], None]


def schedule_of(config: RetrainConfig) -> tuple[int, int, int]:
    """Returns the settings that heads trained together must share."""
    return (
        config.how_many_training_steps,
        config.eval_step_interval,
        config.intermediate_store_frequency,
    )


def stream_of(config: RetrainConfig) -> tuple[int, int]:
    """Returns the settings that heads with the same batches share."""
    return config.train_batch_size, config.seed


@dataclass(frozen=True)
class Outcome:
    """The result of training a head.

    Attributes:
      head: the trained head; None if it failed.
      steps: the number of steps run.
      stopped: whether `patience` ended it early.
      failure: why training failed, else "".
      evaluations: all of them, in order.
    """

    head: Head | None
    steps: int
    stopped: bool = False
    failure: str = ""
    evaluations: tuple[Evaluation, ...] = ()


def train_many(
    train: Examples, validation: Examples, num_labels: int, plans: Sequence[HeadPlan]
) -> list[Outcome]:
    """Trains heads of one schedule together, and returns the outcome of each.

    Args:
      train: the training examples, distorted copies among them.
      validation: the validation examples; never trained on.
      num_labels: L.
      plans: K heads with the same `schedule_of`, sorted by `stream_of`.
    """
    configs = [plan.config for plan in plans]
    streams = sorted(set(map(stream_of, configs)))
    numbers = [streams.index(stream_of(config)) for config in configs]
    steps = HeadSteps(train, num_labels, configs, numbers)
    batches = [_batches(len(train), *stream) for stream in streams]
    runs = [_Run(plan, validation) for plan in plans]
    total, interval, storing = schedule_of(configs[0])
    done = 0
    for last in _stops(total, interval, storing):
        indices = [
            np.stack([next(each) for _ in range(done, last + 1)]) for each in batches
        ]
        steps.run(indices, done)
        done = last + 1
        heads = steps.heads()
        if last % interval == 0 or done == total:
            last_batches = [train.choose(each[-1]) for each in indices]
            for run, head, stream in zip(runs, heads, numbers, strict=True):
                if not run.outcome:
                    run.evaluate(last, head, last_batches[stream])
        for run, head in zip(runs, heads, strict=True):
            if storing and last and last % storing == 0 and not run.outcome:
                run.plan.store(last, head)
        if all(run.outcome for run in runs):
            break
    ended = [run.end(head, done) for run, head in zip(runs, heads, strict=True)]
    return _best_of(ended, configs, train, validation, num_labels)


def _best_of(
    outcomes: list[Outcome],
    configs: Sequence[RetrainConfig],
    train: Examples,
    validation: Examples,
    num_labels: int,
) -> list[Outcome]:
    """Returns the outcomes, with other heads where `--head=best` found better ones."""
    fitted: dict[tuple[str, int], Head] = {}
    best = list(outcomes)
    for number, (outcome, config) in enumerate(zip(outcomes, configs, strict=True)):
        if config.head != "best" or outcome.head is None:
            continue
        key = config.class_weights, config.seed
        if key not in fitted:
            fitted[key] = discriminant(train, num_labels, config)
        if not clearly_better(outcome.head, fitted[key], validation):
            best[number] = replace(outcome, head=fitted[key])
    return best


class _Run:
    """The run of one head: its best evaluation, and its outcome once it has ended."""

    def __init__(self, plan: HeadPlan, validation: Examples) -> None:
        self.plan, self._validation = plan, validation
        self.outcome: Outcome | None = None
        self._random = np.random.default_rng([plan.config.seed, 1])
        self._best: Head | None = None
        self._best_accuracy = -1.0
        self._since_best = 0
        self._evaluations: list[Evaluation] = []

    def evaluate(self, step: int, head: Head, batch: Examples) -> None:
        """Scores and reports the head; ends a run that fails or stops improving."""
        config = self.plan.config
        size = -1 if config.patience else config.validation_batch_size
        sample = self._validation.sample(size, self._random)
        train_accuracy, train_entropy = score(head, batch)
        accuracy, entropy = score(head, sample)
        if not np.isfinite([train_entropy, entropy]).all():
            self.outcome = Outcome(
                None,
                step + 1,
                failure=f"training diverged by step {step}: weights are not finite; "
                f"lower --learning_rate={config.learning_rate:g}",
            )
            return
        evaluation = Evaluation(
            step, train_accuracy, train_entropy, accuracy, entropy, len(sample)
        )
        self._evaluations.append(evaluation)
        self.plan.report(evaluation)
        if not config.patience:
            return
        if accuracy > self._best_accuracy:
            self._best, self._best_accuracy, self._since_best = head, accuracy, 0
            return
        self._since_best += 1
        if self._since_best >= config.patience:
            self.outcome = Outcome(self._best, step + 1, stopped=True)

    def end(self, head: Head, steps: int) -> Outcome:
        """Returns the outcome, with the best head, else the last."""
        outcome = self.outcome or Outcome(self._best or head, steps)
        return replace(outcome, evaluations=tuple(self._evaluations))


def score(head: Head, examples: Examples) -> tuple[float, float]:
    """Returns the accuracy, 0 to 1, and the mean cross entropy, in nats.

    If the weights are not finite, neither is the cross entropy.
    """
    right, likelihood = [], []
    for part in examples.parts():
        label_indices = part.labels()
        with np.errstate(all="ignore"):
            found = head.probabilities(part.matrix())
        right.append(found.argmax(axis=1) == label_indices)
        likelihood.append(found[np.arange(len(found)), label_indices])
    smallest = np.finfo(np.float32).tiny
    entropy = -np.log(np.maximum(np.concatenate(likelihood), smallest))
    return float(np.concatenate(right).mean()), float(entropy.mean())


def _batches(examples: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yields int32 [B] batches forever, with every example once in each epoch."""
    random = np.random.default_rng([seed, 0])
    order = np.empty(0, np.int32)
    while True:
        while len(order) < size:
            epoch = np.arange(examples, dtype=np.int32)
            random.shuffle(epoch)
            order = np.concatenate([order, epoch])
        yield order[:size]
        order = order[size:]


def _stops(total: int, interval: int, storing: int) -> Iterator[int]:
    """Yields the steps after which heads are evaluated or stored, ascending."""
    every = {interval, storing} - {0}
    step = 0
    while step < total - 1:
        yield step
        step = min(step - step % each + each for each in every)
    yield total - 1
