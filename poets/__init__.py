"""Retrains image classifiers on pictures in any storage.

`main(server, log_dir, context)` is the hook that DC/OS calls. Other programs use
`retrain`, `load`, `results` and `sweep`, see `poets.api`. Each is imported on first
use: `import poets` alone imports neither another module nor TensorFlow.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poets.api import load, results, retrain, sweep
    from poets.job import main

__version__ = "1.0.0"

__all__ = ["__version__", "load", "main", "results", "retrain", "sweep"]


def __getattr__(name: str) -> object:
    if name == "main":
        from poets.job import main

        return main
    if name in __all__:
        from poets import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
