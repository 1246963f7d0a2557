"""The real cluster, for the tests of this folder that ask for it."""

from tests.kubernetes.nodes import kubernetes, namespace  # noqa: F401, fixtures
