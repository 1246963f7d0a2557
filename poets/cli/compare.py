"""`poets compare RUN RUN...`: which runs are better on the same test pictures."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poets.report.comparison import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Compares runs picture by picture on the test pictures that all of "
        "them have, by McNemar's test and paired intervals."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="results folder, on any storage"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="also write a page, such as compare.html"
    )
    parser.add_argument("--json", action="store_true", help="print the data as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints the comparison, and writes its page; returns the exit code."""
    from poets.report.comparison import compare_runs

    found = compare_runs(args.runs)
    if args.output:
        from poets.report.page import render
        from poets.storage.publish import write_atomically

        page = render("compare.html", found=found)
        write_atomically(args.output, page.encode("utf-8", "replace"))
    if args.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print(format_comparison(found))
    return 0


def format_comparison(found: "Comparison") -> str:
    """Returns the tables that `poets compare` prints."""
    from poets.report.text import printable

    runs = [["run", "accuracy", "95 % interval", "right", *found.runs[0].flags]]
    runs += [
        [
            f"{place}  {printable(each.url)}",
            f"{each.accuracy:.1%}",
            "{:.1%} to {:.1%}".format(*each.interval_95),
            f"{each.correct:,}",
            *map(str, each.flags.values()),
        ]
        for place, each in enumerate(found.runs, 1)
    ]
    pairs = [["pair", "difference", "95 % interval", "gained", "lost", "p", "verdict"]]
    pairs += [
        [
            f"{each.second + 1} - {each.first + 1}",
            f"{100 * each.difference:+.1f}",
            "{:+.1f} to {:+.1f}".format(*(100 * end for end in each.interval_95)),
            f"{each.only_second:,}",
            f"{each.only_first:,}",
            "<0.001" if each.p < 0.001 else f"{each.p:.3f}",
            found.verdict(each),
        ]
        for each in found.pairs
    ]
    blocks = [[f"{found.images:,} test pictures"], _table(runs), _table(pairs)]
    blocks += [list(found.notes)] * bool(found.notes)
    return "\n\n".join("\n".join(block) for block in blocks)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
