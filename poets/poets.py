"""The DC/OS entry module, for `"job_path": ".../poets", "job_name": "poets"`.

DC/OS puts `job_path` on PYTHONPATH and imports `job_name`. With `job_path` naming
the package's own folder, the import finds this file and not the package around it;
giving the module a `__path__` makes it that package. What lies beside the package
(dependencies that `build_zip.py --with-dependencies` put into the zip) must then be
found too, as it is when `job_path` names the folder above.
"""

import importlib
import os
import sys

if __name__ == "poets":  # imported by DC/OS; inside the package it is "poets.poets"
    __path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.path.append(os.path.dirname(__path__[0]))

from poets.job import main

# By name: to mypy and to the layers `poets.__init__` is `poets`, and imports nothing.
__version__ = importlib.import_module("poets.__init__").__version__

__all__ = ["__version__", "main"]
