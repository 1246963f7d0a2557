"""report.html in a real browser: what people see, and that nothing else happens."""

import importlib.util
import re
import shutil

import pytest

from poets.report.findings import SECTIONS
from poets.report.page.run_page import TITLES

pytest_plugins = ["tests.finished"]

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


@pytest.fixture
def opened(browser):
    """Opens files; then checks that they asked for nothing and did not complain."""
    contexts, requests, complaints = [], [], []

    def open_page(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_init_script(WATCH)
        context.on("request", lambda request: requests.append(request.url))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: complaints.append(message.text))
        page = context.new_page()
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(re.match(r"data:|file:.*\.html(#.*)?$", url) for url in requests)


def test_every_section_has_a_title_in_the_same_order():
    assert [name for name in TITLES if name in SECTIONS] == list(SECTIONS)


def test_the_contents_lead_to_every_section(opened, finished):
    page = opened(finished.folder / "report.html")
    links = page.get_by_role("navigation").get_by_role("link")
    assert links.count() >= 6
    for link in links.all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert target.get_by_role("heading", level=2).inner_text() == link.inner_text()


def test_a_number_of_the_confusion_matrix_opens_its_pictures(opened, finished):
    page = opened(finished.folder / "report.html")
    button = page.locator(".matrix .wrong button").first
    dialog = page.locator(f"#{button.get_attribute('popovertarget')}")
    assert not dialog.is_visible()
    button.click()
    assert dialog.is_visible()
    pictures = dialog.get_by_role("img")
    assert pictures.count() == int(button.inner_text())
    assert pictures.first.evaluate("image => image.naturalWidth") == 48
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
