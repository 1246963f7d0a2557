"""The image's entry point, under the name that manifests of the original call.

`python retrain.py --image_dir=…` is `poets retrain --image_dir=…`.
"""

import sys

from poets.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "retrain")
    main()
