"""What can be known to go wrong is known before the work, and all at once.

Nothing here imports TensorFlow: a mistake is told in a fraction of a second.
"""

import logging
import posixpath

import pyarrow.fs

from poets.config import RetrainConfig
from poets.dataset import Dataset, find_images
from poets.errors import ConfigError, PoetsError, StorageError, together
from poets.split import check_split, split_images
from poets.storage import exists, join, kind_of, open_storage
from poets.storage.publish import check_writable

logger = logging.getLogger(__name__)

SUMMARY_RUNS = ("train", "validation")


def preflight(config: RetrainConfig) -> Dataset:
    """Returns the labelled images, once all outputs are known to be writable.

    Raises:
      ConfigError: if outputs are in each other's way.
      DatasetError: if the folders cannot train a classifier.
      StorageError: if an output folder cannot be written.
      PoetsError: several of these, in one message.
    """
    errors: list[PoetsError] = []
    for check in (
        _check_files,
        _check_saved_model_dir,
        _check_summaries_dir,
        _check_folders,
    ):
        try:
            check(config)
        except PoetsError as error:
            errors.append(error)
    try:
        dataset = find_images(config.image_dir)
        # Contents are not known yet: each image is taken for unlike the others.
        names = [image.path.encode() for image in dataset.images]
        for thin in check_split(dataset, split_images(dataset.images, names, config)):
            logger.warning(thin)
    except PoetsError as error:
        errors.append(error)
    if not errors:
        return dataset
    if len(errors) == 1:
        raise errors[0]
    kind = ConfigError if any(e.exit_code == 2 for e in errors) else StorageError
    raise kind(together("the job cannot start", [str(error) for error in errors]))


def folder_of(url: str) -> str:
    """Returns the URL of the folder that a file or a folder lies in."""
    scheme, separator, path = url.rstrip("/").rpartition("://")
    folder = posixpath.dirname(path)
    return f"{scheme}{separator}{folder}" if separator else folder or "."


def _check_folders(config: RetrainConfig) -> None:
    folders = [
        folder_of(config.output_graph),
        folder_of(config.output_labels),
        config.bottleneck_dir,
    ]
    if config.saved_model_dir:
        folders.append(folder_of(config.saved_model_dir))
    if config.checkpoint_path:
        folders.append(folder_of(config.checkpoint_path))
    if config.intermediate_store_frequency:
        folders.append(folder_of(config.intermediate_output_graphs_dir + "_"))
    problems = []
    for folder in dict.fromkeys(folders):
        try:
            check_writable(folder)
        except StorageError as error:
            problems.append(str(error))
    if problems:
        raise StorageError(together("cannot write results", problems))


def _check_files(config: RetrainConfig) -> None:
    for flag in ("output_graph", "output_labels"):
        url = getattr(config, flag)
        if kind_of(url) == pyarrow.fs.FileType.Directory:
            raise ConfigError(f"--{flag}={url!r} is a folder; name a file")


def _check_saved_model_dir(config: RetrainConfig) -> None:
    """A SavedModel is replaced whole; another folder is not ours to replace."""
    url = config.saved_model_dir
    if not url or not exists(url) or exists(join(url, "saved_model.pb")):
        return
    if kind_of(url) == pyarrow.fs.FileType.File:
        raise ConfigError(f"--saved_model_dir={url!r} is a file; name a folder")
    filesystem, path = open_storage(url)
    if filesystem.get_file_info(pyarrow.fs.FileSelector(path)):
        raise ConfigError(
            f"--saved_model_dir={url!r} holds files and is no SavedModel; name an "
            "empty folder or a new one"
        )


def _check_summaries_dir(config: RetrainConfig) -> None:
    url = config.summaries_dir
    for folder in (url, *(join(url, run) for run in SUMMARY_RUNS)):
        if kind_of(folder) == pyarrow.fs.FileType.File:
            raise ConfigError(
                f"--summaries_dir={url!r}: {folder!r} is a file; name a folder"
            )
