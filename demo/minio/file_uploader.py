"""Uploads a picture and prints its bucket, name and presigned URL as a Python dict.

    python demo/minio/file_uploader.py --endpoint localhost:9000 --file 6.png
    {'bucket_name': 'mnist', 'object_name': '3f0c....png', 'url': 'http://...'}

After a failure it prints None, the reason on stderr, and exits with 1.
"""

import sys
from collections.abc import Sequence

from uploads import FAILURES, Upload, build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    args = build_parser("Uploads a picture to an S3 store.").parse_args(arguments)
    try:
        print(Upload(args).put())
    except FAILURES as error:
        print(None)
        print(f"cannot upload {str(args.file)!r}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
