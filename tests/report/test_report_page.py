"""report.html in a real browser: what people see, and that nothing else happens."""

import importlib.util

import pytest

from poets.report.findings import SECTIONS, find
from poets.report.page.run_page import run_page
from poets.report.reread import read_evidence
from tests.report.pages import made_up_run, with_every_section, write_picture

pytest_plugins = ["tests.finished", "tests.watched"]

MARKUP = "<img src=x onerror=alert(1)>"
HOSTILE = {
    MARKUP: (9, 3, 6),
    "</style><script>alert(1)": (9, 3, 6),
    "\u202eturned": (9, 3, 6),  # U+202E writes what follows it from right to left
    "a_label_without_a_space_" * 8: (9, 3, 6),
    '"{{ 7 * 7 }}"': (9, 3, 6),
    "<!--picture 0-->": (9, 3, 6),
    "k\u00e4fer": (9, 3, 0),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page with every section, whose labels and names are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    images = folder / "images"
    for number, name in enumerate(HOSTILE):
        if "/" not in name:
            write_picture(images / name / "13.jpg", seed=number)
    made_up_run(
        folder / "out",
        images,
        HOSTILE,
        answer=lambda label, number: (label + number % 3) % len(HOSTILE),
    )
    evidence = read_evidence(str(folder / "out"))
    findings = with_every_section(find(evidence), MARKUP, f"{MARKUP}/13.jpg")
    path = folder / "report.html"
    path.write_bytes(run_page(findings, evidence.answers.dataset))
    return path


def test_every_section_has_a_title_of_its_own():
    assert len({row.title for row in SECTIONS.values()}) == len(SECTIONS)


def test_the_contents_lead_to_every_section(watched, finished):
    page = watched.open(finished.folder / "report.html")
    links = page.get_by_role("navigation").get_by_role("link")
    assert links.count() >= 6
    for link in links.all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert target.get_by_role("heading", level=2).inner_text() == link.inner_text()


def test_a_number_of_the_confusion_matrix_opens_its_pictures(watched, finished):
    page = watched.open(finished.folder / "report.html")
    button = page.locator(".matrix .wrong button").first
    dialog = page.locator(f"#{button.get_attribute('popovertarget')}")
    assert not dialog.is_visible()
    button.click()
    assert dialog.is_visible()
    pictures = dialog.get_by_role("img")
    assert pictures.count() == int(button.inner_text())
    width = "image => image.naturalWidth"
    assert {each.evaluate(width) for each in pictures.all()} <= {48, 68}
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_the_matrix_is_used_by_keyboard_alone(watched, finished):
    page = watched.open(finished.folder / "report.html")
    page.get_by_role("region", name="Confusion matrix, table").focus()
    page.keyboard.press("Tab")
    button = page.locator(":focus")
    assert "recognised" in button.get_attribute("aria-label")
    page.keyboard.press("Enter")
    assert page.locator(":focus").inner_text() == "Close"
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert button.evaluate("each => each === document.activeElement")


def test_labels_and_names_are_text(watched, hostile):
    page = watched.open(hostile)
    assert page.locator("script, img[src=x], main style").count() == 0
    shown = set(page.locator("main bdi").all_text_contents())
    assert shown >= {MARKUP, *(f"{name}/13.jpg" for name in [*HOSTILE][:-1])}


def test_only_pictures_that_are_there_are_shown(watched, hostile):
    page = watched.open(hostile)
    doubtful = page.locator("#doubtful_labels")
    assert doubtful.get_by_role("img", name=f"{MARKUP}/13.jpg").count() == 2
    page.locator(".matrix button").first.click()
    assert page.get_by_role("dialog").get_by_text("no picture").first.is_visible()


def test_nothing_runs_in_the_page(watched, hostile):
    page = watched.open(hostile)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.evil = 1";
            document.body.append(script);
            const image = document.createElement("img");
            image.src = "http://127.0.0.2/evil.png";
            document.body.append(image);
        }"""
    )
    with pytest.raises(Exception, match="fetch"):
        page.evaluate("() => fetch('http://127.0.0.2/')")
    assert page.evaluate("window.evil") is None
    kinds = ("script-src", "img-src", "connect-src")
    assert all(any(kind in text for text in watched.complaints) for kind in kinds)
    watched.complaints.clear()
    watched.requests.clear()  # those that were refused are among them


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits(watched, hostile, width):
    page = watched.open(hostile, viewport={"width": width, "height": 740})
    found = "[document.documentElement.scrollWidth, innerWidth]"
    assert page.evaluate(found) == [width, width]
    page.locator(".matrix button").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(watched, hostile, require, scheme):
    require("axe", importlib.util.find_spec("axe_playwright_python"))
    from axe_playwright_python.sync_playwright import Axe

    page = watched.open(hostile, color_scheme=scheme)
    assert Axe().run(page).response["violations"] == []
    page.locator(".matrix button").first.click()
    assert Axe().run(page).response["violations"] == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ("rgb(1" in paper) == (scheme == "dark")


def test_on_paper_all_pictures_are_open(watched, hostile):
    page = watched.open(hostile, color_scheme="dark")
    page.emulate_media(media="print")
    assert all(cell.is_visible() for cell in page.locator(".cell").all())
    assert not page.get_by_role("navigation").is_visible()
    assert page.pdf().startswith(b"%PDF-")
