"""The DC/OS entry module, for `"job_path": ".../poets", "job_name": "poets"`.

DC/OS puts `job_path` on PYTHONPATH and imports `job_name`. If `job_path` is the
package's own folder, the import finds this file instead of the package around it.
Setting `__path__` turns the module into that package. The folder above goes on
`sys.path` for the dependencies that `build_zip.py --with-dependencies` put there.
"""

import importlib
import os
import sys

if __name__ == "poets":  # imported by DC/OS; inside the package it is "poets.poets"
    __path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.path.append(os.path.dirname(__path__[0]))

from poets.job import main

# By name, because mypy and the layer test take `poets.__init__` for `poets`.
__version__ = importlib.import_module("poets.__init__").__version__

__all__ = ["__version__", "main"]
