"""`poets clean`: moves the pictures that a list of the report names, and back."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Moves the pictures of a CSV beside a report, such as "
        "doubtful_labels.csv, with yes in the column `move`. Look at the list first, "
        "and correct that column."
    )
    parser.add_argument("list", metavar="CSV", help="on any storage")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--move_to",
        metavar="REVIEW_DIR",
        help="the new folder, on any storage, outside of --image_dir; it also gets the "
        "list that undoes the moves",
    )
    what.add_argument(
        "--dry_run", action="store_true", help="print the pictures that would be moved"
    )
    what.add_argument(
        "--undo",
        action="store_true",
        help="CSV is the list of earlier moves: move those pictures back",
    )
    parser.add_argument(
        "--image_dir",
        metavar="DIR",
        default="",
        help="where the pictures are now (default: from metrics.json beside the CSV)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Moves pictures, or prints them; returns the exit code."""
    from poets.report.cleaning import listed_moves, move_all, undone_moves

    if args.undo:
        moves = undone_moves(args.list)
        count, _ = move_all(moves)
        print(f"{count} of {len(moves)} pictures moved back")
        return 0
    moves = listed_moves(args.list, args.move_to or "", args.image_dir)
    if args.dry_run:
        for move in moves:
            print(move.source)
        return 0
    count, undo = move_all(moves, args.move_to)
    print(f"{count} of {len(moves)} pictures moved to {args.move_to}")
    if undo:
        print(f"to undo it: poets clean {undo} --undo")
    return 0
