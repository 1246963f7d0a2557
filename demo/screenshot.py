"""Opens the page of a model server in Chromium, gives it pictures and photographs it.

    python demo/screenshot.py http://127.0.0.1:8501/ page.png rose.jpg tulip.jpg

It needs Debian's chromium and `pip install playwright`.
"""

import re
import shutil
import sys
from collections.abc import Sequence

from playwright.sync_api import expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
VIEWPORT = {"width": 1280, "height": 850}
TIMEOUT_MS = 120_000


def photograph(url: str, output: str, pictures: Sequence[str]) -> str:
    """Saves the page with the answers for some pictures; returns its summary."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(url)
        page.get_by_role("button", name="Choose pictures").wait_for(timeout=TIMEOUT_MS)
        page.locator("#files").set_input_files(list(pictures))
        status = page.get_by_role("status")
        expect(status).to_have_text(re.compile(r"pictures?: "), timeout=TIMEOUT_MS)
        page.screenshot(path=output)
        summary = status.inner_text()
        browser.close()
    return re.sub("[\u2068\u2069]", "", summary)  # marks around text of any direction


def main() -> int:
    """Runs the program; returns the exit code."""
    url, output, *pictures = sys.argv[1:]
    print(f"{output} shows {photograph(url, output, pictures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
