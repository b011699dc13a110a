"""A headless Chromium that uses the page, and what a page must not do in any test.

The tests need Playwright (`pip install -e .[browser]`) and a Chromium: `INRES_CHROMIUM` names its
program, by default `chromium` on the path.
"""

import contextlib
import io
import os
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

SECONDS = 20
"""How long a test waits for the page."""
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@contextlib.contextmanager
def launched():
    """A browser; the test is skipped without Playwright or Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = os.environ.get("INRES_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("no chromium on the path; set INRES_CHROMIUM")
    with playwright.sync_playwright() as running:
        # Containers often lack the privileges of the sandbox; the page is this repository's.
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(app):
    """The address of a server that runs an application in a thread."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    end = time.monotonic() + SECONDS
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join(SECONDS)


class Watched:
    """Pages of a browser, each in a profile of its own, and what they complained about."""

    def __init__(self, browser, address):
        self.address = address
        self.allowed = []
        """Texts of console messages that a test expects."""
        self._browser, self._contexts, self._wrong = browser, [], []

    def open(self, path="", *, shows="#main", **options):
        """A new page at an address below the server's, once it `shows` an element."""
        context = self._browser.new_context(accept_downloads=True, **options)
        self._contexts.append(context)
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._wrong.append(f"script: {error}"))
        page.on("request", self._on_request)
        page.goto(self.address + path)
        page.wait_for_selector(f"{shows}:visible")
        return page

    def _on_console(self, message):
        text = message.text
        expected = any(part in text for part in self.allowed)
        if message.type in ("error", "warning") and not expected:
            self._wrong.append(f"console: {text}")

    def _on_request(self, request):
        if not request.url.startswith((self.address, "blob:", "data:")):
            self._wrong.append(f"request to another server: {request.url}")

    def close(self):
        """Close the pages, and fail if one had an error or asked another server."""
        for context in self._contexts:
            context.close()
        assert not self._wrong, "\n".join(self._wrong)


def violations(page, rules=None):
    """What axe-core finds wrong with a page as it is now, by its `rules` or by all of them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    options = {"runOnly": rules} if rules else None
    found = axe.Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:150] for node in one['nodes'][:3]]}"
        for one in found
    ]


def has_no_horizontal_scrolling(page):
    """Whether all of the page fits its width."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def grey_of(page, selector):
    """Mean grey of a part of the page as it is shown, 0 to 255."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot()))
    return float(np.asarray(picture.convert("L")).mean())
