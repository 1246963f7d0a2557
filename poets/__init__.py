"""Poets retrains an image classifier where the pictures are.

`main(server, log_dir, context)` is the hook that DC/OS calls. It is loaded on first
use: `import poets` reads no other module and no TensorFlow.
"""

__version__ = "1.0.0"

__all__ = ["__version__", "main"]


def __getattr__(name: str) -> object:
    if name == "main":
        from poets.job import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
