"""`poets unpack PACKS IMAGE_DIR`: writes the pictures in packs as a labelled folder."""

import argparse

from poets.system.logs import log_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Writes the pictures in packs (Parquet, tar, zip, TFRecord) as "
        "files of a labelled folder, from any storage to any. Run it again after an "
        "interruption."
    )
    parser.add_argument("packs", metavar="PACKS", help="pack, or folder of packs")
    parser.add_argument("image_dir", metavar="IMAGE_DIR", help="folder for pictures")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from poets.data.packing import unpack_images  # takes 0.3 s: not for --help

    log_to_stderr()
    done = unpack_images(args.packs, args.image_dir)
    print(
        f"{args.image_dir}: {done.images:,} pictures; {done.kept:,} were there, "
        f"{len(done.skipped):,} left out"
    )
    return 0
