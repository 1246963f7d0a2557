"""`poets report RESULTS`: writes the report of a finished run."""

import argparse

from poets.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Writes report.html, report.json and CSVs into the folder of a "
        "finished run, from its metrics.json and split.csv. Where pictures, features "
        "and graph are still in their places, it has all sections."
    )
    parser.add_argument("url", metavar="RESULTS", help="the folder of --output_graph")
    parser.add_argument(
        "--image_dir",
        metavar="DIR",
        default="",
        help="where the pictures are now; default: where the run found them",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="",
        help="write only the page, to this file or URL",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints its place; returns the exit code."""
    from poets.report import REPORT
    from poets.report.build import build_report
    from poets.report.reread import read_evidence
    from poets.storage import exists, join
    from poets.storage.publish import Publication

    if args.image_dir and not exists(args.image_dir):
        raise ConfigError(
            f"--image_dir={args.image_dir!r} not found; give the folder of the pictures"
        )
    files, missing = build_report(read_evidence(args.url, args.image_dir))
    place = args.output or join(args.url, REPORT)
    with Publication() as publication:
        for name, content in files.items():
            if name == REPORT:
                publication.add_file(place, content)
            elif not args.output:
                publication.add_file(join(args.url, name), content)
        publication.commit()
    if REPORT in files:
        print(place)
    return 1 if missing else 0
