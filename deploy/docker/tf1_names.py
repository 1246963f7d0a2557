"""The few TensorFlow 1.x names that the DC/OS package's wrapper uses.

    tf1_names.pth ──> this module, at interpreter start ──> waits
    import tensorflow ──────────────────────────────────> tf.train.Server, tf.logging, …

The wrapper was written for TensorFlow 1.5; today's has the same things under
`tf.compat.v1`. TensorFlow is not imported here: processes that do without it stay
fast, and a name that TensorFlow has itself is never replaced.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NAMES = ("app", "flags", "gfile", "logging", "ConfigProto", "GPUOptions")
"""Below `tf`, taken from `tf.compat.v1`; `tf.train.Server` comes beside them."""


class Tf1NamesFinder(MetaPathFinder):
    """Finds `tensorflow` as usual, and adds the old names once it is executed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns TensorFlow's own spec with a longer end; None for all others."""
        spec = (
            PathFinder.find_spec(fullname, path) if fullname == "tensorflow" else None
        )
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_add(module: ModuleType) -> None:
            execute(module)
            add_names(module)

        spec.loader.exec_module = execute_and_add  # type: ignore[method-assign]
        return spec


def add_names(tf: ModuleType) -> None:
    """Gives the imported TensorFlow the old names it does not have."""
    for name in NAMES:
        if not hasattr(tf, name):
            setattr(tf, name, getattr(tf.compat.v1, name))
    if not hasattr(tf.train, "Server"):
        tf.train.Server = tf.distribute.Server


sys.meta_path.insert(0, Tf1NamesFinder())
