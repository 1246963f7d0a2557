"""The page of the model server by keyboard, on a telephone, in light and dark."""

import re

import pytest

from tests.serve.page import GREEN, GREY, RED, choose, picture, said

pytest_plugins = ["tests.watched", "tests.serve.page"]

CONTRASTS = """() => {
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const behind = each => {
        const colour = numbers(getComputedStyle(each).backgroundColor);
        return colour[3] === 0 ? behind(each.parentElement) : colour;
    };
    return [...document.querySelectorAll("#page *")]
        .filter(each => each.checkVisibility() && [...each.childNodes].some(
            node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
        .map(each => {
            const [dark, bright] = [numbers(getComputedStyle(each).color), behind(each)]
                .map(light).sort((one, other) => one - other);
            return [each.textContent, (bright + 0.05) / (dark + 0.05)];
        });
}"""


def test_it_works_by_keyboard_alone(page):
    button = page.get_by_role("button", name="Choose pictures")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("combobox", name="Model").focus()
        page.keyboard.press("Tab")
        assert button.evaluate("each => each === document.activeElement")
        outline = "each => getComputedStyle(each).outlineStyle"
        assert button.evaluate(outline) == "solid"
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    chooser.value.set_files([picture(RED, "1.png"), picture(GREEN, "2.png")])
    said(page, "2 pictures: ")
    for name in ("Remove all", "Show 2 more", "Remove 1.png"):
        focused = page.locator(":focus")
        while focused.inner_text() != name and (
            focused.get_attribute("aria-label") != name
        ):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
    page.keyboard.press("Enter")
    said(page, "1 picture: .?green")
    assert page.locator(":focus").get_attribute("aria-label") == "Remove 2.png"
    page.keyboard.press("Enter")
    assert button.evaluate("each => each === document.activeElement")


def test_it_fits_on_a_telephone(visitor, page_server):
    page = visitor.open(
        page_server.url,
        viewport={"width": 360, "height": 740},
        is_mobile=True,
        has_touch=True,
    )
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").tap()
    camera = chooser.value.element
    assert camera.get_attribute("capture") == "environment"
    chooser.value.set_files(picture(RED))
    page.get_by_role("button", name="Show 2 more").tap()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360


def test_a_mouse_needs_no_camera(page):
    assert not page.get_by_role("button", name="Take a photo").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_easy_to_read(visitor, page_server, scheme):
    page = visitor.open(page_server.url, color_scheme=scheme)
    choose(page, picture(RED), picture(GREY), {**picture(RED), "buffer": b"bad"})
    said(page, "3 pictures: .*1 failed")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [each for each in contrasts if each[1] < 4.5] == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", paper))) > 127) == (scheme == "light")
