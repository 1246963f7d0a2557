"""`make bench`: measures, prints a table, writes a JSON file.

python -m benchmarks                        everything, about 40 minutes
python -m benchmarks bottlenecks accuracy   some sections
python -m benchmarks --quick                few images and steps, as a smoke test
python -m benchmarks scale --scale_images=100000
"""

import argparse
import json
import logging
import os
import platform
import sys
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from benchmarks.inputs import FULL, PROJECT, SMALL
from benchmarks.limits import cores
from benchmarks.measurements import QUICK, Bench, Sizes
from benchmarks.processes import RunError
from benchmarks.retraining import SECTIONS
from benchmarks.table import Row, render

log = logging.getLogger(__name__)


def main() -> int:
    """Runs the sections in the command line; returns 1 if one failed."""
    flags = _parse()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    sizes = QUICK if flags.quick else Sizes()
    if flags.scale_images:
        sizes = replace(sizes, scale_images=flags.scale_images)
    bench = Bench(sizes, flags.work.resolve())
    report = {"started": _now(), "quick": flags.quick, "machine": machine()}
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for name in flags.sections or SECTIONS:
        log.info("section %s", name)
        try:
            for row in SECTIONS[name](bench):
                # A quick run is too small to compare with the goals.
                rows.append(replace(row, reached=None) if flags.quick else row)
                log.info("%s: %.4g %s", row.figure.strip(), row.ours, row.unit)
        except RunError as error:
            log.error("%s failed: %s", name, error)
            failed[name] = str(error)
    report |= {
        "finished": _now(),
        "load_at_end": os.getloadavg()[0],
        "stand_ins": not all(bench.inputs(case).real for case in (SMALL, FULL)),
        "failed": failed,
        "figures": [_record(row) for row in rows],
    }
    flags.json.parent.mkdir(parents=True, exist_ok=True)
    flags.json.write_text(json.dumps(report, indent=1) + "\n")
    print(_heading(report))
    print(render(rows))
    print(f"written to {flags.json}")
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"from {', '.join(SECTIONS)}; default: all",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument(
        "--scale_images",
        type=int,
        metavar="N",
        help=f"images of the section scale (default: {Sizes.scale_images:,})",
    )
    build = PROJECT / "build"
    parser.add_argument("--json", type=Path, default=build / "benchmarks.json")
    parser.add_argument("--work", type=Path, default=build / "benchmarks")
    flags = parser.parse_args()
    if unknown := [name for name in flags.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    return flags


def machine() -> dict[str, object]:
    """Describes the machine and the versions that the figures depend on."""
    packages = ("tensorflow", "ai-edge-litert", "simplejpeg", "numpy")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _record(row: Row) -> dict[str, object]:
    return asdict(row) | {"times": row.times, "of_limit": row.of_limit}


def _heading(report: dict) -> str:
    found = report["machine"]
    lines = [
        f"{found['cores']} cores, {found['cpu']}, TensorFlow {found['tensorflow']}, "
        f"load {found['load_at_start']:.1f} before the start"
    ]
    if report["stand_ins"]:
        lines.append("drawn flowers and random weights: accuracies are meaningless")
    if report["quick"]:
        lines.append("quick: the runs are too short for meaningful figures")
    lines += [f"{name} failed: {why}" for name, why in report["failed"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
