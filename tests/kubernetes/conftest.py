"""The real cluster, for the tests of this folder that ask for it."""

from tests.kubernetes.bucket import bucket  # noqa: F401, a fixture
from tests.kubernetes.hadoop import hdfs_beside  # noqa: F401, a fixture
from tests.kubernetes.kserve import kserve  # noqa: F401, a fixture
from tests.kubernetes.nodes import (  # noqa: F401, fixtures
    disk,
    flowers,
    kubernetes,
    namespace,
)
from tests.kubernetes.overlays import overlay  # noqa: F401, a fixture
