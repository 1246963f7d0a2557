"""What a run prints and logs."""

import logging

import pytest


@pytest.fixture
def lines():
    """An `emit` that keeps what it is given."""

    class Lines(list):
        def __call__(self, task, stream, text):
            self.append((task, stream, text))

    return Lines()


@pytest.fixture
def scheduler_log():
    """The scheduler's messages, `texts`; `hook(text)` is called with each."""

    class SchedulerLog(logging.Handler):
        def __init__(self):
            super().__init__()
            self.texts = []
            self.hook = lambda text: None

        def emit(self, record):
            self.texts.append(record.getMessage())
            self.hook(record.getMessage())

    handler = SchedulerLog()
    logger = logging.getLogger("poets.dcos")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)
