"""Fine-tunes a backbone and its head, for the job.

    images ─> features at the cut ─> inputs ─> children ─> values ─> Features, Head
              (store, processes)     (files)   (supervise)

The new bottlenecks are computed here from the features at the cut, by the last layers
with their new constants. No image is read again.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from poets.backbones import Backbone
from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.data.split import VALIDATION
from poets.errors import ConfigError, StorageError
from poets.features.compute import compute_bottlenecks
from poets.features.features import Features, Trained, training_examples
from poets.features.models import networks_of
from poets.features.pool import Workers
from poets.fine_tuning import ACTIVITY
from poets.fine_tuning.files import Inputs, folder_for
from poets.fine_tuning.layers import Cut, cut_before_last, with_constants
from poets.fine_tuning.steps import BIASES, WEIGHTS, averaged
from poets.fine_tuning.supervise import Supervisor
from poets.head import Head
from poets.head.evaluate import Accuracy, accuracy_of
from poets.head.examples import Examples
from poets.head.standardizer import Standardizer
from poets.head.steps import weights_of_labels
from poets.system.machine import CHIEF_BYTES, memory_bytes

logger = logging.getLogger(__name__)

COPIES_IN_MEMORY = 3
"""Copies of the features: of all images, in the inputs, in the inputs as written."""


def plan(config: RetrainConfig, backbone: Backbone, images: int) -> Cut | None:
    """Returns the backbone cut before its last layers; None without fine-tuning.

    Raises:
      ConfigError: if it has too few layers, or the features of `images` images do
        not fit into memory.
      ModelError: if it cannot be cut there.
    """
    if not config.fine_tune_steps:
        return None
    cut = cut_before_last(backbone, config.fine_tune_layers)
    copies = 1 + (config.augmentations if config.distorts else 0)
    needed = COPIES_IN_MEMORY * images * copies * cut.tail.feature_size * 4
    available = memory_bytes() - CHIEF_BYTES
    if needed > available:
        raise ConfigError(
            f"--fine_tune_layers={config.fine_tune_layers}: {images * copies} pictures "
            f"have {cut.tail.feature_size} features each before the last layers of "
            f"{backbone.name}, which takes {needed / 2**30:.1f} GiB of memory; found "
            f"{available / 2**30:.1f} GiB; give fewer layers or more memory"
        )
    return cut


def fine_tune(
    config: RetrainConfig,
    cut: Cut,
    trained: Trained,
    train: Examples,
    workers: Workers,
    work_dir: str,
) -> Trained:
    """Trains the last layers of a backbone together with its head; the chief's part.

    Args:
      config: the flags.
      cut: as `plan` returned it.
      trained: the head on the whole network.
      train: the examples that the head was trained on.
      workers: compute the features that the store lacks; other tasks call `take_part`.
      work_dir: local folder that lives as long as the run.

    Returns:
      The head of the fine-tuned network, with a sentence for `metrics.json`.

    Raises:
      PoetsError: if it fails. A later run continues from the last checkpoint.
    """
    features, head = trained.features, trained.head
    at_cut = _at_cut(config, cut, features, workers, work_dir)
    examples = training_examples(config, at_cut, workers)
    standard = Standardizer.of(train)
    start = standard.unfold(head)
    validation = at_cut.of_split(VALIDATION)
    inputs = Inputs(
        tail=cut.tail,
        standard=standard,
        values={**cut.tail.initial(), WEIGHTS: start.weights, BIASES: start.biases},
        features=np.concatenate([examples.matrix(), validation.matrix()]),
        labels=np.concatenate([examples.labels(), validation.labels()]),
        trained=len(examples),
        label_weights=weights_of_labels(examples, len(head.biases), config),
        steps=config.fine_tune_steps,
        batch_size=config.fine_tune_batch_size * workers.cluster.num_workers,
        learning_rate=config.fine_tune_learning_rate,
        seed=config.seed,
    )
    values = _train(config, inputs, workers)
    constants = {name: values[name] for name in cut.tail.constants}
    bottlenecks = cut.tail.run(at_cut.every.bottlenecks, constants)
    tuned = replace(
        features,
        backbone=with_constants(features.backbone, constants),
        every=replace(features.every, bottlenecks=bottlenecks),
    )
    tuned_head = standard.fold(Head(values[WEIGHTS], values[BIASES]))
    before, after = _validated(features, head), _validated(tuned, tuned_head)
    note = (
        f"the last {config.fine_tune_layers} layers of {features.backbone.name} were "
        f"fine-tuned in {inputs.steps} steps of {inputs.batch_size}: validation "
        f"accuracy {before.share * 100:.1f}% before, {after.share * 100:.1f}% after "
        f"(N={after.n})"
    )
    logger.info("%s", note)
    if after.correct < before.correct:
        logger.warning(
            "fine-tuning made the validation accuracy worse; lower "
            "--fine_tune_learning_rate, or leave --fine_tune_steps out"
        )
    notes = (*trained.notes, note)
    return replace(trained, features=tuned, head=tuned_head, notes=notes)


def take_part(
    config: RetrainConfig, cluster: Cluster, ended: Callable[[], bool]
) -> None:
    """Takes part in the chief's fine-tuning until the job ends; a worker's part.

    `ended` returns whether it has; it may raise if the job failed.

    Raises:
      PoetsError: if this worker cannot take part.
    """
    Supervisor(folder_for(config), cluster).follow(ended)


def _at_cut(
    config: RetrainConfig, cut: Cut, features: Features, workers: Workers, work_dir: str
) -> Features:
    """Returns the features of the same images before the last layers."""
    folder = os.path.join(work_dir, "fine_tuning")
    os.makedirs(folder, exist_ok=True)
    spec = replace(features.spec, networks=networks_of(config, cut.trunk, folder))
    extraction = compute_bottlenecks(features.dataset.images, spec, workers)
    logger.info("%d pictures computed up to the last layers", extraction.computed)
    if extraction.skipped:
        path, why = extraction.skipped[0]
        raise StorageError(
            f"{len(extraction.skipped)} images had a bottleneck and cannot be read "
            f"again for fine-tuning, first {path!r}: {why}; run again"
        )
    every = replace(features.every, bottlenecks=extraction.matrix)
    return replace(
        features, backbone=cut.trunk, spec=spec, extraction=extraction, every=every
    )


def _train(
    config: RetrainConfig, inputs: Inputs, workers: Workers
) -> dict[str, np.ndarray]:
    """Returns the averaged values after the last step, by name."""
    folder, key = folder_for(config), inputs.key()
    step = folder.newest_step(key)
    if step:
        logger.info("fine-tuning: %d of %d steps were made before", step, inputs.steps)
    if step < inputs.steps:
        folder.write_inputs(inputs, key)
        with workers.joined_in(ACTIVITY):
            Supervisor(folder, workers.cluster).lead(key, inputs.steps)
    state = folder.read_checkpoint(key, inputs.steps)
    folder.keep_result(key)
    return averaged(state, inputs.steps)


def _validated(features: Features, head: Head) -> Accuracy:
    validation = features.of_split(VALIDATION)
    predicted, _ = head.answers(validation.matrix())
    return accuracy_of(predicted, validation.labels())
