"""The page of the model server: pictures, links, and what it shows of the model."""

import re

import pytest

from tests.serve.page import (
    BLUE,
    GREEN,
    GREY,
    LABELS,
    LONG,
    RED,
    cards,
    choose,
    picture,
    said,
)

pytest_plugins = ["tests.watched", "tests.serve.page"]


def transfer(page, *files, text=""):
    """Returns the DataTransfer of a drop or a paste."""
    given = [[each["name"], list(each["buffer"])] for each in files]
    return page.evaluate_handle(
        """([files, text]) => {
            const data = new DataTransfer();
            for (const [name, bytes] of files)
                data.items.add(new File([new Uint8Array(bytes)], name));
            if (text) data.setData("text/plain", text);
            return data;
        }""",
        [given, text],
    )


class TestPictures:
    def test_a_chosen_picture_gets_its_labels_as_bars(self, page):
        choose(page, picture(RED, "rose.png"))
        said(page, r"1 picture: .?red.? 98\.\d%")
        (card,) = cards(page).all()
        assert card.get_by_role("heading").inner_text() == "rose.png"
        rows = card.get_by_role("listitem").all_inner_texts()
        assert re.fullmatch(r"red\s+98\.\d%", rows[0])
        assert len(rows) == 5
        shares = card.locator("i").evaluate_all(
            """bars => bars.map(bar => [getComputedStyle(bar, "::before").width, bar])
                .map(([width, bar]) => parseFloat(width) / bar.offsetWidth)"""
        )
        assert shares[0] == pytest.approx(0.983, abs=0.002)
        assert max(shares[1:]) < 0.02
        assert card.locator("img").evaluate("image => image.naturalWidth") == 32

    def test_more_shows_all_labels_and_fewer_hides_them(self, page):
        choose(page, picture(RED))
        page.get_by_role("button", name="Show 2 more").click()
        assert cards(page).get_by_role("listitem").count() == len(LABELS)
        button = page.get_by_role("button", name="Show fewer")
        assert button.get_attribute("aria-expanded") == "true"
        button.click()
        assert cards(page).get_by_role("listitem").count() == 5

    def test_pictures_are_dropped(self, page):
        data = transfer(page, picture(GREEN), picture(BLUE))
        page.dispatch_event("body", "dragover", {"dataTransfer": data})
        assert page.locator("body.dragging").count() == 1
        page.dispatch_event("#drop", "drop", {"dataTransfer": data})
        said(page, r"2 pictures: .?green.? \(1\), .?blue.? \(1\)")
        assert page.locator("body.dragging").count() == 0

    def test_a_picture_is_pasted(self, page):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.evaluate(
            """async (bytes) => {
                const type = "image/png";
                const blob = new Blob([new Uint8Array(bytes)], {type});
                await navigator.clipboard.write([new ClipboardItem({[type]: blob})]);
            }""",
            list(picture(BLUE)["buffer"]),
        )
        page.keyboard.press("Control+V")
        said(page, r"1 picture: .?blue")

    def test_what_holds_no_picture_is_said(self, page):
        page.dispatch_event(
            "body", "drop", {"dataTransfer": transfer(page, text="a word")}
        )
        said(page, "That holds no picture")

    def test_many_pictures_are_asked_a_few_at_a_time(self, page):
        asked, most = set(), [0]

        def begins(request):
            if "/v1/" in request.url:
                asked.add(request)
                most.append(len(asked))

        page.on("request", begins)
        page.on("requestfinished", lambda request: asked.discard(request))
        choose(page, *(picture((5 * i, 250, 0), f"{i}.png") for i in range(40)))
        said(page, r"40 pictures: .?green")
        assert 2 <= max(most) <= 4
        names = cards(page).get_by_role("heading").all_inner_texts()
        assert names == [f"{i}.png" for i in range(40)]

    def test_a_bad_picture_does_not_harm_the_others(self, page):
        text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
        good = picture(RED, "good.png")
        torn = {**good, "name": "torn.png", "buffer": good["buffer"][:60]}
        choose(page, picture(GREEN), text, torn, good)
        said(page, r"4 pictures: .?green.? \(1\), .?red.? \(1\), 2 failed")
        failed = cards(page).nth(1)
        assert failed.locator(".bad").inner_text().startswith("Not a JPEG, PNG")
        assert not failed.get_by_role("button", name="Try again").count()
        assert cards(page).nth(2).locator(".bad").inner_text()

    def test_a_weak_answer_is_none(self, page):
        choose(page, picture(GREY))
        said(page, r"1 picture: .?\(none\)")
        assert cards(page).get_by_text("No label has 50% or more.").is_visible()

    def test_pictures_are_removed(self, page):
        choose(page, picture(RED, "1.png"), picture(GREEN, "2.png"))
        said(page, "2 pictures: ")
        page.get_by_role("button", name="Remove 1.png").click()
        said(page, "1 picture: .?green")
        choose(page, picture(RED, "3.png"))
        page.get_by_role("button", name="Remove all").click()
        assert cards(page).count() == 0
        said(page, "^$")

    def test_a_server_out_of_reach_is_asked_again(self, page):
        page.context.set_offline(True)
        choose(page, picture(RED))
        said(page, "1 picture: 1 failed")
        assert cards(page).get_by_text("The server cannot be reached").is_visible()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        said(page, "1 picture: .?red")

    def test_a_busy_server_is_asked_again(self, page):
        page.route("**/v1/**", lambda route: route.fulfill(status=429), times=2)
        choose(page, picture(RED))
        said(page, "1 picture: .?red")


class TestLinks:
    def test_a_linked_picture_is_fetched_by_the_server(self, page, web_server):
        web_server.files["/rose.png"] = picture(RED)["buffer"]
        page.get_by_label("address of a picture").fill(web_server.url("/rose.png"))
        page.get_by_role("button", name="Add").click()
        said(page, "1 picture: .?red")
        page.dispatch_event(
            "#drop",
            "drop",
            {"dataTransfer": transfer(page, text=web_server.url("/absent.png"))},
        )
        said(page, "2 pictures: .*1 failed")
        assert "404" in cards(page).first.locator(".bad").inner_text()


class TestModels:
    def test_the_page_says_how_good_the_model_is(self, page):
        about = page.get_by_role("complementary")
        text = re.sub(r"\s+", " ", about.inner_text())
        for words in (
            "Version 1: the network mobilenet_0.50_224, retrained with 12,345 pictures "
            "on 29 November 2026.",
            "77.1%",
            "It was right on 54 of 70 test pictures",
            "95% interval: 66.1% to 85.4%",
            "The 5 weakest of 6 labels",
            f"Of 100 pictures of {LONG}, it recognises 46.",
            f"Of 100 that it calls {LONG}, 90 are right.",
            "2 pictures are in both splits",
            "curl -F image=@picture.jpg http://127.0.0.1",
        ):
            assert words in text
        rows = about.get_by_role("row").all_inner_texts()
        assert rows[1].split("\t") == [LONG, "46.2%", "90.0%"]

    def test_the_page_links_to_the_report_of_the_training(self, visitor, page):
        link = page.get_by_role("link", name="Report of its training")
        with page.expect_navigation():
            link.click()
        assert page.locator("body").inner_text().strip() == "The report"
        (refused,) = visitor.complaints
        assert "sandboxed" in refused
        visitor.complaints.clear()

    def test_a_model_without_a_report_links_to_none(self, page_server, page):
        page.get_by_role("combobox", name="Model").select_option("couleurs")
        page.get_by_role("heading", name="couleurs").wait_for()
        assert page.get_by_role("link").count() == 0
        assert page_server.get("/report/couleurs").status_code == 404
        assert page_server.get("/report/absent").status_code == 404

    def test_another_model_looks_at_the_same_pictures(self, page):
        choose(page, picture(RED))
        said(page, "1 picture: .?red")
        page.get_by_role("combobox", name="Model").select_option("couleurs")
        said(page, "1 picture: .?rouge")
        assert page.get_by_role("heading", level=1).inner_text() == "couleurs"
        assert page.title() == "couleurs · poets"
        about = page.get_by_role("complementary").inner_text()
        assert "Version 1; how it was trained is not known." in about
