"""A pytest plugin: a browser that opens files and is watched.

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
    """Opens files, and remembers what they asked for and complained about."""

    def __init__(self, browser):
        self._browser, self._contexts = browser, []
        self.requests, self.complaints = [], []

    def open(self, path, **options):
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.add_init_script(WATCH)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda message: self.complaints.append(message.text))
        page = context.new_page()
        page.goto(path.as_uri())
        return page

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def watched(browser):
    """Afterwards, checks that no page asked for anything, or complained."""
    watched = Watched(browser)
    yield watched
    watched.close()
    assert watched.complaints == []
    loaded = [url for url in watched.requests if not url.startswith("data:image/")]
    assert all(re.match(r"file:///[^#]*\.html(#.*)?$", url) for url in loaded)
