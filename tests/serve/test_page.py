"""The page of the model server in a real browser, which asks a real server.

The model names the colour of a picture. Some of its labels are hostile. After each
test, `page` checks that the browser sent no other request and violated no rule.
"""

import io
import json
import re

import pytest
from PIL import Image

from poets.report.labels import digest_of
from tests.serving import serving

pytest_plugins = ["tests.watched"]

MARKUP = "<img src=x onerror=alert(1)>"
TURNED = "\u202eturned"  # U+202E writes what follows it from right to left
LONG = "a_label_without_a_space_" * 8
LABELS = ["red", "green", "blue", MARKUP, TURNED, LONG, "käfer"]
OTHER = ["rouge", "vert", "bleu", "quatre", "cinq", "six", "sept"]
RED, GREEN, BLUE, GREY = (250, 5, 5), (5, 250, 5), (5, 5, 250), (128, 128, 128)
REPORT = "<h1>The report</h1><script>document.body.innerHTML = 'evil'</script>"
TOKEN = "the-token-of-this-test"
TIMEOUT_MS = 60_000


def metrics_of(model, labels):
    """Returns metrics.json of a run that made the model."""
    rows = [
        {"label": label, "n": 10, "precision": 0.9, "recall": 0.9625 - 0.1 * position}
        for position, label in enumerate(labels)
    ]
    accuracy = {"n": 70, "correct": 54, "accuracy": 0.7714}
    return {
        "finished": "2026-11-29T12:13:14+00:00",
        "model": {"backbone": "mobilenet_0.50_224"},
        "images": {"used": 12345},
        "labels": [{"label": label} for label in labels],
        "accuracy": {"test": {**accuracy, "interval_95": [0.6612, 0.8539]}},
        "per_label": [*rows[:-1], {**rows[-1], "precision": None, "recall": None}],
        "exports": {"colours.tflite": {"sha256": digest_of(str(model))}},
        "notes": ["2 pictures are in both splits"],
    }


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Two folders with the same network: one knows its run, one has other labels."""
    from poets.system.runtime import tf, v1

    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [1, 8, 8, 3], "Placeholder")
        means = 6 * tf.reduce_mean(images, axis=[1, 2])
        scores = tf.nn.softmax(tf.pad(means, [[0, 0], [0, len(LABELS) - 3]]))
        convert = v1.lite.TFLiteConverter.from_session
        content = convert(session, [images], [scores]).convert()
    folders = [tmp_path_factory.mktemp(name) for name in ("colours", "couleurs")]
    for folder, labels in zip(folders, (LABELS, OTHER), strict=True):
        (folder / "colours.tflite").write_bytes(content)
        (folder / "labels.txt").write_text("\n".join(labels))
    metrics = metrics_of(folders[0] / "colours.tflite", LABELS)
    (folders[0] / "metrics.json").write_text(json.dumps(metrics))
    (folders[0] / "report.html").write_text(REPORT)
    return [folder / "colours.tflite" for folder in folders]


@pytest.fixture(scope="module")
def server(models):
    names = (f"red-&-blue={models[0]}", f"couleurs={models[1]}")
    options = ("--processes=1", "--reject_below=0.5", "--allow_urls=127.0.0.0/8")
    with serving(*names, *options) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(models, tmp_path_factory):
    """A server that asks for a token and fetches no URLs."""
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(TOKEN)
    with serving(models[0], f"--token_file={file}", "--processes=1") as running:
        yield running


@pytest.fixture
def watched(patient):
    """Afterwards, checks that the pages asked only their server."""
    yield patient
    schemes_and_hosts = {url.partition("/v1/")[0] for url in patient.requests}
    assert all(
        re.fullmatch(
            r"blob:.*|data:.*|http://127\.0\.0\.1:\d+(/|/about|/report/.*)?", url
        )
        for url in schemes_and_hosts
    )


@pytest.fixture
def page(watched, server):
    opened = watched.open(server.url)
    opened.get_by_role("heading", name="red-&-blue").wait_for()
    return opened


def picture(colour, name="a.png"):
    """Returns a file for the browser."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def said(page, text):
    """Waits until the status has a text."""
    from playwright.sync_api import expect

    expect(page.get_by_role("status")).to_have_text(
        re.compile(text), timeout=TIMEOUT_MS
    )


def choose(page, *files):
    page.locator("#files").set_input_files(list(files))


def cards(page):
    return page.get_by_role("list").and_(page.locator("#results")).locator("> li")


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

    def test_the_page_links_to_the_report_of_the_training(self, watched, page):
        link = page.get_by_role("link", name="Report of its training")
        with page.expect_navigation():
            link.click()
        assert page.locator("body").inner_text().strip() == "The report"
        (refused,) = watched.complaints
        assert "sandboxed" in refused
        watched.complaints.clear()

    def test_a_model_without_a_report_links_to_none(self, server, page):
        page.get_by_role("combobox", name="Model").select_option("couleurs")
        page.get_by_role("heading", name="couleurs").wait_for()
        assert page.get_by_role("link").count() == 0
        assert server.get("/report/couleurs").status_code == 404
        assert server.get("/report/absent").status_code == 404

    def test_another_model_looks_at_the_same_pictures(self, page):
        choose(page, picture(RED))
        said(page, "1 picture: .?red")
        page.get_by_role("combobox", name="Model").select_option("couleurs")
        said(page, "1 picture: .?rouge")
        assert page.get_by_role("heading", level=1).inner_text() == "couleurs"
        assert page.title() == "couleurs · poets"
        about = page.get_by_role("complementary").inner_text()
        assert "Version 1; how it was trained is not known." in about


class TestSecurity:
    def test_labels_and_names_are_text(self, page):
        choose(page, picture(RED, f"{MARKUP}.png".replace("/", "")))
        page.get_by_role("button", name="Show 2 more").click()
        shown = cards(page).locator("bdi").all_inner_texts()
        assert shown[0] == f"{MARKUP}.png"
        assert set(shown[1:]) == set(LABELS)
        assert page.locator("img[src=x]").count() == 0

    def test_nothing_but_the_page_itself_runs(self, watched, page):
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
        assert any("connect-src" in text for text in watched.complaints)
        watched.complaints.clear()
        watched.requests.clear()

    def test_no_other_page_may_frame_it(self, server):
        policy = server.get("/").headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy

    def test_a_token_is_asked_for_and_kept_in_this_tab_alone(self, watched, guarded):
        page = watched.open(guarded.url)
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

    def test_a_page_offers_what_its_server_does(self, watched, guarded, page):
        other = watched.open(guarded.url)
        other.get_by_role("textbox", name="Token").fill(TOKEN)
        other.keyboard.press("Enter")
        other.get_by_role("button", name="Choose pictures").wait_for()
        for role, name in (("combobox", "Model"), ("textbox", "address of a picture")):
            assert page.get_by_role(role, name=name).is_visible()
            assert not other.get_by_role(role, name=name).is_visible()

    def test_who_has_no_token_may_come_back(self, watched, guarded):
        page = watched.open(guarded.url)
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        alert = page.get_by_role("alert").filter(has_text="asks for a token")
        alert.wait_for()
        page.get_by_role("button", name="Try again").click()
        page.get_by_role("dialog").wait_for()


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


class TestPeople:
    def test_it_works_by_keyboard_alone(self, page):
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

    def test_it_fits_on_a_telephone(self, watched, server):
        page = watched.open(
            server.url,
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

    def test_a_mouse_needs_no_camera(self, page):
        assert not page.get_by_role("button", name="Take a photo").is_visible()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_all_text_is_easy_to_read(self, watched, server, scheme):
        page = watched.open(server.url, color_scheme=scheme)
        choose(page, picture(RED), picture(GREY), {**picture(RED), "buffer": b"bad"})
        said(page, "3 pictures: .*1 failed")
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 40
        assert [each for each in contrasts if each[1] < 4.5] == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (min(map(int, re.findall(r"\d+", paper))) > 127) == (scheme == "light")
