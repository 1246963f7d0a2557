"""Photographs the page of a model server, or a report, in Chromium.

    python demo/screenshot.py http://127.0.0.1:8501/ page.png rose.jpg tulip.jpg
    python demo/screenshot.py run/report.html report.png

Of a report there are three: report.png, report_pictures.png, report_phone.png. It needs
Debian's chromium and `pip install playwright`.
"""

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
VIEWPORT = {"width": 1280, "height": 850}
PHONE = {"width": 360, "height": 740}
TIMEOUT_MS = 120_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Gives a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        yield browser
        browser.close()


def photograph(url: str, output: str, pictures: Sequence[str]) -> str:
    """Saves the page with the answers for some pictures; returns its summary."""
    with chromium() as browser:
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(url)
        page.get_by_role("button", name="Choose pictures").wait_for(timeout=TIMEOUT_MS)
        page.locator("#files").set_input_files(list(pictures))
        status = page.get_by_role("status")
        expect(status).to_have_text(re.compile(r"pictures?: "), timeout=TIMEOUT_MS)
        page.screenshot(path=output)
        summary = status.inner_text()
    return re.sub("[\u2068\u2069]", "", summary)  # marks around text of any direction


def photograph_report(report: Path, output: Path) -> str:
    """Saves the top of a report, the pictures of a mistake, and it on a telephone."""
    with chromium() as browser:
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(report.resolve().as_uri())
        page.screenshot(path=output)
        buttons = page.locator(".matrix .wrong button").all()
        if buttons:  # the label that is most often taken for another
            max(buttons, key=lambda each: int(each.inner_text())).click()
        page.screenshot(path=output.with_stem(f"{output.stem}_pictures"))
        page = browser.new_page(viewport=PHONE, color_scheme="dark")
        page.goto(report.resolve().as_uri())
        page.screenshot(path=output.with_stem(f"{output.stem}_phone"))
        return page.title()


def main() -> int:
    """Runs the program; returns the exit code."""
    url, output, *pictures = sys.argv[1:]
    if url.endswith(".html"):
        shown = photograph_report(Path(url), Path(output))
    else:
        shown = photograph(url, output, pictures)
    print(f"{output} shows {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
