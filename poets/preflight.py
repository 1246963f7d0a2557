"""Checks inputs and outputs before the work starts, and reports all problems together.

    remote storages: login ─> ticket ─> server                  stops at the first
    every storage:   outputs, their folders, images, one read   reports all

Nothing here imports TensorFlow, so mistakes are reported in a fraction of a second,
and servers that are down within seconds.
"""

import logging
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import pyarrow.fs

from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.data.dataset import Dataset, find_images
from poets.data.split import check_split, split_images
from poets.doctor import TIMEOUT_S, StepError
from poets.doctor.checklist import checkups, first_steps
from poets.doctor.diagnosis import take
from poets.doctor.security import log_in
from poets.doctor.steps_kerberos import check_lifetime
from poets.doctor.steps_storage import try_reading, try_writing
from poets.errors import ConfigError, PoetsError, StorageError, format_problems
from poets.formats import FORMATS
from poets.storage import exists, folder_of, join, kind_of, open_storage, scheme_of
from poets.storage.calls import deadline

logger = logging.getLogger(__name__)

SUMMARY_RUNS = ("train", "validation")


def preflight(config: RetrainConfig) -> Dataset:
    """Checks that the job can run, and returns the labelled images.

    Raises:
      ConfigError: if outputs conflict with each other or with existing files.
      DatasetError: if the folders cannot train a classifier.
      StorageError: if a storage cannot be reached, an image cannot be read or an
        output folder cannot be written.
      PoetsError: for several of these, with one message.
    """
    whom = _reach([config.image_dir], output_folders(config))
    errors: list[PoetsError] = []
    with deadline(TIMEOUT_S):
        for check in (
            _check_files,
            _check_export_folders,
            _check_packages,
            _check_summaries_dir,
            _check_folders,
        ):
            try:
                check(config)
            except PoetsError as error:
                errors.append(error)
    try:
        dataset = _find_images(config)
    except PoetsError as error:
        errors.append(error)
    if not errors:
        return dataset
    if len(errors) == 1 and not whom:
        raise errors[0]
    raise _refusal(f"the job cannot start{whom}", errors)


def check_shared(
    config: RetrainConfig, cluster: Cluster, environ: Mapping[str, str] = os.environ
) -> None:
    """Checks that the folders that several workers share are not local to one task.

    Args:
      config: the flags.
      cluster: this worker's place in the cluster.
      environ: read for the Mesos sandbox.

    Raises:
      ConfigError: if a shared folder is in a sandbox or a temporary folder.
    """
    if cluster.num_workers == 1:
        return
    problems = []
    for flag in ("bottleneck_dir", "image_dir"):
        url = getattr(config, flag)
        if scheme_of(url) not in ("", "file"):
            continue
        path = os.path.realpath(open_storage(url)[1])
        if (sandbox := environ.get("MESOS_SANDBOX")) and _is_below(path, sandbox):
            problems.append(
                f"--{flag}={url!r} is in the sandbox, which is private to each task"
            )
        elif cluster.num_hosts > 1 and _is_below(path, tempfile.gettempdir()):
            problems.append(
                f"--{flag}={url!r} is in a temporary folder of each of "
                f"{cluster.num_hosts} machines"
            )
        elif cluster.num_hosts > 1:
            logger.info("--%s=%r must be one folder for all workers", flag, url)
    if problems:
        raise ConfigError(
            format_problems(
                f"{cluster.num_workers} workers need folders that all of them share",
                problems,
            )
            + "; set service.shared_filesystem, for example to hdfs://default/job, or "
            "use folders on a shared storage, or one worker"
        )


def check_worker(config: RetrainConfig) -> None:
    """Checks the storages that a worker other than the chief uses.

    Raises:
      ConfigError: if a URL is wrong.
      StorageError: if a storage cannot be reached or the bottleneck folder cannot be
        written.
    """
    folders = [config.bottleneck_dir]
    whom = _reach([config.image_dir], folders)
    with deadline(TIMEOUT_S):
        problems = [str(error) for error in try_writing(folders)]
    if problems:
        raise StorageError(format_problems(f"cannot write bottlenecks{whom}", problems))


def _is_below(path: str, folder: str) -> bool:
    folder = os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


def output_folders(config: RetrainConfig) -> list[str]:
    """Returns the URLs of the folders that a job writes to, without duplicates."""
    folders = [
        *(folder_of(url) for row in FORMATS.values() if (url := row.url(config))),
        folder_of(config.output_labels),
        config.bottleneck_dir,
    ]
    if config.checkpoint_path:
        folders.append(folder_of(config.checkpoint_path))
    if config.intermediate_store_frequency:
        folders.append(folder_of(config.intermediate_output_graphs_dir + "_"))
    if scheme_of(config.summaries_dir):
        folders.append(config.summaries_dir)
    return list(dict.fromkeys(folders))


def _refusal(title: str, errors: Sequence[PoetsError]) -> PoetsError:
    """Combines errors into one: a ConfigError if any of them is the user's mistake."""
    kind = ConfigError if any(e.exit_code == 2 for e in errors) else StorageError
    return kind(format_problems(title, [str(error) for error in errors]))


def _reach(reads: list[str], writes: list[str]) -> str:
    """Checks that each remote storage of some URLs accepts the login and answers.

    Returns:
      " as tensorflow@LOCAL", or "" without Kerberos.

    Raises:
      PoetsError: for the first problem.
    """
    far = [checkup for checkup in checkups(reads, writes) if checkup.storage]
    try:
        with deadline(TIMEOUT_S):
            names = [log_in(checkup) for checkup in far]
    except PoetsError as error:
        raise _refusal("the job cannot start", [error]) from error
    whom = next((f" as {name}" for name in names if name), "")
    for checkup in far:
        for step in first_steps(checkup):
            try:
                take(step, checkup)
            except StepError as error:
                title = f"the job cannot start{whom}: {step.name}"
                raise _refusal(title, [error]) from error
        try:
            check_lifetime.check(checkup)
        except StepError as error:
            logger.warning("%s", error)
    return whom


def _find_images(config: RetrainConfig) -> Dataset:
    """Lists the images; for a remote folder, also reads the smallest one."""
    dataset = find_images(
        config.image_dir, config.split, config.bottleneck_dir, config.labels_csv
    )
    for thin in check_split(dataset, split_images(dataset, None, config)):
        logger.warning(thin)
    if scheme_of(config.image_dir) and not dataset.packs:  # those are open already
        url = dataset.source.url(dataset.images.smallest().path)
        with deadline(TIMEOUT_S):
            try_reading(url)
    return dataset


def _check_folders(config: RetrainConfig) -> None:
    problems = [str(failure) for failure in try_writing(output_folders(config))]
    if problems:
        raise StorageError(format_problems("cannot write results", problems))


def _check_files(config: RetrainConfig) -> None:
    for flag in ("output_graph", "output_labels"):
        url = getattr(config, flag)
        if kind_of(url) == pyarrow.fs.FileType.Directory:
            raise ConfigError(f"--{flag}={url!r} is a folder; name a file")
    checkpoint = config.checkpoint_path and f"{config.checkpoint_path}.index"
    for flag, url in (
        ("output_graph", config.output_graph),
        ("output_labels", config.output_labels),
        ("checkpoint_path", checkpoint),
    ):
        if url and scheme_of(url) in ("", "file") and _is_kept_by_another(url):
            raise StorageError(
                f"--{flag}={getattr(config, flag)!r} cannot be replaced: {url!r} "
                "belongs to another user, in a folder where only its owner may replace "
                "it (sticky bit, as /tmp); name another path"
            )


def _is_kept_by_another(url: str) -> bool:
    """Returns whether a local file is another user's in a sticky folder."""
    path = open_storage(url)[1]
    try:
        file, folder = os.stat(path), os.stat(os.path.dirname(path))
    except OSError:
        return False
    may_replace = {0, file.st_uid, folder.st_uid}
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in may_replace


def _check_export_folders(config: RetrainConfig) -> None:
    """Refuses a folder with other files: publishing replaces the whole folder."""
    for row in FORMATS.values():
        url = row.url(config)
        if not row.marker or not url or exists(join(url, row.marker)):
            continue
        if (kind := kind_of(url)) == pyarrow.fs.FileType.File:
            raise ConfigError(f"--{row.flag}={url!r} is a file; name a folder")
        filesystem, path = open_storage(url)
        if kind == pyarrow.fs.FileType.Directory and filesystem.get_file_info(
            pyarrow.fs.FileSelector(path)
        ):
            raise ConfigError(
                f"--{row.flag}={url!r} holds files and is not a {row.title}; name an "
                "empty folder or a new one"
            )


def _check_packages(config: RetrainConfig) -> None:
    """Refuses exports whose packages are not installed."""
    for row in FORMATS.values():
        missing = [name for name in row.packages if not find_spec(name)]
        if missing and row.url(config):
            raise ConfigError(
                f"--{row.flag} needs packages that are not installed: "
                f"{', '.join(missing)}; {row.installation}, or leave --{row.flag} out"
            )


def _check_summaries_dir(config: RetrainConfig) -> None:
    url = config.summaries_dir
    for folder in (url, *(join(url, run) for run in SUMMARY_RUNS)):
        if kind_of(folder) == pyarrow.fs.FileType.File:
            raise ConfigError(
                f"--summaries_dir={url!r}: {folder!r} is a file; name a folder"
            )
