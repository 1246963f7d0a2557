"""Lists and reads a folder of small files: `python -m benchmarks.reading URL`.

Prints JSON with files per second, CPU time per file, and the time of the listing. It
runs as a separate process, so that each backend starts without state.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs

from poets.storage import open_storage, read_bytes


def measure(url: str, in_flight: int) -> dict[str, float]:
    """Measures the listing and reading of all files below a folder.

    Args:
      url: the folder, on any storage.
      in_flight: number of concurrent reads.
    """
    filesystem, root = open_storage(url)
    filesystem.get_file_info(root)  # connects
    started_s = time.perf_counter()
    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    listing_s = time.perf_counter() - started_s
    paths = [info.path for info in infos if info.type == pyarrow.fs.FileType.File]
    with ThreadPoolExecutor(in_flight) as threads:
        list(threads.map(lambda path: read_bytes(filesystem, path), paths[:in_flight]))
        started_s, cpu_s = time.perf_counter(), time.process_time()
        sizes = list(threads.map(lambda path: len(read_bytes(filesystem, path)), paths))
        took_s = time.perf_counter() - started_s
        cpu_s = time.process_time() - cpu_s
    return {
        "files": len(paths),
        "bytes": sum(sizes),
        "files_per_s": len(paths) / took_s,
        "cpu_us": cpu_s / len(paths) * 1e6,
        "listing_s": listing_s,
    }


def main() -> None:
    """Measures the folder of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading")
    parser.add_argument("url")
    parser.add_argument("--in_flight", type=int, default=16)
    flags = parser.parse_args()
    print(json.dumps(measure(flags.url, flags.in_flight)))


if __name__ == "__main__":
    main()
