"""A chief to be killed: computes the bottlenecks of a folder, as `Spec` says.

python chief.py SPEC_JSON PROCESSES
"""

import sys

from poets.data.dataset import find_images
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.process import Spec

if __name__ == "__main__":
    spec = Spec.from_json(sys.argv[1])
    with Pool(int(sys.argv[2])) as pool:
        images = find_images(spec.image_dir).images
        found = compute_bottlenecks(images, spec, pool)
    print(found.computed)
