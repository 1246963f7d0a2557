"""A pytest plugin: a browser that opens pages and is watched.

A test module asks for it by `pytest_plugins = ["tests.watched"]`.
"""

import importlib.util
import re
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
WATCH = """addEventListener("securitypolicyviolation",
    event => console.error("violation", event.violatedDirective, event.blockedURI))"""


@pytest.fixture(scope="module")  # it has an event loop: not beside tests with another
def browser(require):
    require("playwright", importlib.util.find_spec("playwright"))
    require("chromium", CHROMIUM)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


class Watched:
    """Opens pages, and remembers what they asked for and complained about."""

    timeout_ms = 30_000  # Playwright's own

    def __init__(self, browser):
        self._browser, self._contexts = browser, []
        self.requests, self.complaints = [], []

    def open(self, place, **options):
        """Opens a URL, or the path of a file."""
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(self.timeout_ms)
        context.add_init_script(WATCH)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda message: self.heard(message.text))
        page = context.new_page()
        page.goto(place if isinstance(place, str) else place.as_uri())
        return page

    def heard(self, text):
        self.complaints.append(text)

    def close(self):
        for context in self._contexts:
            context.close()


class Patient(Watched):
    """Waits for servers on a busy machine; an answer of 400 is no complaint."""

    timeout_ms = 60_000

    def heard(self, text):
        if "Failed to load resource" not in text:
            super().heard(text)


@pytest.fixture
def patient(browser):
    """Afterwards, checks that no page complained."""
    watched = Patient(browser)
    yield watched
    watched.close()
    assert watched.complaints == []


@pytest.fixture
def watched(browser):
    """Afterwards, checks that no page asked for anything, or complained."""
    watched = Watched(browser)
    yield watched
    watched.close()
    assert watched.complaints == []
    loaded = [url for url in watched.requests if not url.startswith("data:image/")]
    assert all(re.match(r"file:///[^#]*\.html(#.*)?$", url) for url in loaded)
