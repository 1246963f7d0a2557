"""`poets results URL`: lists a results folder like `hdfs dfs -ls` and summarizes it."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poets.report.listing import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("url", metavar="URL", help="the folder of --output_graph")
    parser.add_argument("--json", action="store_true", help="print the data as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints the listing and the summary of a folder; returns the exit code."""
    from poets.report.listing import format_listing, list_folder
    from poets.report.summary import format_results, read_results
    from poets.workers.progress import read_progress

    entries = list_folder(args.url)
    if not args.json and entries:
        print(format_listing(entries), end="\n\n")
    results = read_results(entries)
    running = read_progress(args.url)
    if args.json:
        data = {"url": args.url, "listing": [_data(entry) for entry in entries]}
        data["running"] = running
        print(json.dumps(data | asdict(results), indent=1))
    else:
        if running:
            print(
                "running, or killed: {done} of {total} {unit}; by worker: "
                "{workers}\n".format(**running)
            )
        print(format_results(results))
    return 0


def _data(entry: "Entry") -> dict[str, Any]:
    """Returns one line of the listing as JSON data."""
    data = asdict(entry)
    data |= data.pop("attributes")
    data["modified"] = entry.modified.isoformat() if entry.modified else None
    return data
