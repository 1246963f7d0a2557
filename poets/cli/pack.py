"""`poets pack IMAGE_DIR PACKS`: writes many small pictures into few large files.

stdout has one line: what is there now. Pictures that are left out go to stderr.
"""

import argparse

from poets.errors import ConfigError
from poets.system.logs import log_to_stderr

MOST_MB = 2048
"""Largest pack: two of them are in memory at once."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Writes the pictures of a labelled folder, or of other packs, into "
        "few large files, from any storage to any. Training on them gives the same "
        "model, and reads them at full speed. Run it again after an interruption."
    )
    parser.add_argument(
        "image_dir", metavar="IMAGE_DIR", help="labelled folder or packs"
    )
    parser.add_argument("packs", metavar="PACKS", help="folder for the packs")
    parser.add_argument(
        "--format",
        choices=("parquet", "tar"),
        default="parquet",
        help="parquet: as Hugging Face datasets; tar: of the folder (default: parquet)",
    )
    parser.add_argument(
        "--file_mb",
        type=int,
        default=128,
        metavar="N",
        help="megabytes of pictures in a file (default: 128)",
    )
    parser.add_argument(
        "--labels_csv", default="", metavar="FILE", help="as of poets retrain"
    )
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    if not 1 <= args.file_mb <= MOST_MB:
        raise ConfigError(f"--file_mb={args.file_mb}: must be 1 to {MOST_MB:,}")
    from poets.data.packing import pack_images  # takes 0.3 s: not for --help

    log_to_stderr()
    done = pack_images(
        args.image_dir, args.packs, args.format, args.file_mb, args.labels_csv
    )
    print(
        f"{args.packs}: {done.files:,} packs, {done.images:,} pictures, "
        f"{done.length / 2**20:,.1f} MB; {done.files - done.kept:,} packs written now, "
        f"{len(done.skipped):,} pictures left out"
    )
    return 0
