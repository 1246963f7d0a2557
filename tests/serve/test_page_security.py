"""The page of the model server: hostile labels, foreign scripts, and the token."""

import pytest

from tests.serve.page import LABELS, MARKUP, RED, cards, choose, picture, said
from tests.serving import serving

pytest_plugins = ["tests.watched", "tests.serve.page"]

TOKEN = "the-token-of-this-test"


@pytest.fixture(scope="module")
def guarded(colours, tmp_path_factory):
    """A server that asks for a token and fetches no URLs."""
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(TOKEN)
    with serving(colours[0], f"--token_file={file}", "--processes=1") as running:
        yield running


def test_labels_and_names_are_text(page):
    choose(page, picture(RED, f"{MARKUP}.png".replace("/", "")))
    page.get_by_role("button", name="Show 2 more").click()
    shown = cards(page).locator("bdi").all_inner_texts()
    assert shown[0] == f"{MARKUP}.png"
    assert set(shown[1:]) == set(LABELS)
    assert page.locator("img[src=x]").count() == 0


def test_nothing_but_the_page_itself_runs(visitor, page):
    added = """kind => {
        const script = document.createElement("script");
        if (kind) script.src = "data:text/javascript,window.evil=1";
        else script.textContent = "window.evil = 1";
        document.body.append(script);
    }"""
    for kind in (0, 1):
        with pytest.raises(Exception, match="Trusted"):
            page.evaluate(added, kind)
    with pytest.raises(Exception, match="Trusted"):
        page.evaluate("document.body.innerHTML = '<b>evil</b>'")
    with pytest.raises(Exception, match="fetch"):
        page.evaluate("() => fetch('http://127.0.0.2/')")
    assert page.evaluate("window.evil") is None
    assert any("connect-src" in text for text in visitor.complaints)
    visitor.complaints.clear()
    visitor.requests.clear()


def test_no_other_page_may_frame_it(page_server):
    policy = page_server.get("/").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_a_token_is_asked_for_and_kept_in_this_tab_alone(visitor, guarded):
    page = visitor.open(guarded.url)
    dialog = page.get_by_role("dialog", name="This server asks for a token")
    dialog.get_by_role("textbox", name="Token").fill("wrong")
    page.keyboard.press("Enter")
    dialog.get_by_text("The server refused this token.").wait_for()
    dialog.get_by_role("textbox", name="Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="colours").wait_for()
    choose(page, picture(RED))
    said(page, "1 picture: .?red")
    assert TOKEN not in page.content()
    page.reload()
    page.get_by_role("heading", name="colours").wait_for()
    assert not dialog.is_visible()
    kept = "() => [sessionStorage.length, localStorage.length, document.cookie]"
    assert page.evaluate(kept) == [1, 0, ""]


def test_a_page_offers_what_its_server_does(visitor, guarded, page):
    other = visitor.open(guarded.url)
    other.get_by_role("textbox", name="Token").fill(TOKEN)
    other.keyboard.press("Enter")
    other.get_by_role("button", name="Choose pictures").wait_for()
    for role, name in (("combobox", "Model"), ("textbox", "address of a picture")):
        assert page.get_by_role(role, name=name).is_visible()
        assert not other.get_by_role(role, name=name).is_visible()


def test_who_has_no_token_may_come_back(visitor, guarded):
    page = visitor.open(guarded.url)
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    alert = page.get_by_role("alert").filter(has_text="asks for a token")
    alert.wait_for()
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("dialog").wait_for()
