"""The doctor, run as users run it, and what it looks at.

doctor(environment, *words)     runs it
hdfs                            a real secure HDFS with images in it
environment                     logs in tensorflow there
"""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.command import Ended, run_poets, silent_server
from tests.doctor.ended import INPUT, OUTPUT
from tests.retraining import write_images
from tests.secure import Hdfs


@pytest.fixture(scope="session")
def doctor() -> Callable[..., Ended]:
    """Runs `poets doctor` with an environment; see `tests.command.run_python`."""

    def run(environment: Mapping[str, str], *words: object, **more) -> Ended:
        return run_poets(["doctor", *words], environment, **more)

    return run


@pytest.fixture(scope="session")
def hdfs(secure_hdfs: Hdfs, tmp_path_factory: pytest.TempPathFactory) -> Hdfs:
    """The session's HDFS with labelled images in `INPUT` and a folder `OUTPUT`."""
    images = write_images(tmp_path_factory.mktemp("drawn") / "images")
    secure_hdfs.cluster.put(images, INPUT)
    secure_hdfs.cluster.make_folder(OUTPUT, "tensorflow:tensorflow")
    return secure_hdfs


@pytest.fixture(scope="session")
def environment(hdfs: Hdfs) -> dict[str, str]:
    """The variables with which tensorflow gets in."""
    return hdfs.environment("tensorflow")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with silent_server() as port:
        yield port
