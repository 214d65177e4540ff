"""The site, built once for all tests of a session, and a browser on it.

`KDNB_SITE` names a built site to look at instead: `make site`, then
`KDNB_SITE=docs/_build/html pytest tests/site`.
"""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from kdnb import paths

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 300_000  # milliseconds for any one step of a browser: machines may be slow and busy


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site; skips where Sphinx is not installed."""
    if named := os.environ.get("KDNB_SITE"):
        return Path(named).resolve()
    pytest.importorskip("myst_nb", reason="the docs packages are not installed: make setup")
    pytest.importorskip("sphinx_book_theme", reason="the docs packages are not installed")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{shared}.lock"):
        if not (shared / "html/index.html").is_file():
            source = shared / "source"
            source.mkdir(parents=True, exist_ok=True)
            command = [
                sys.executable,
                "-m",
                "sphinx",
                "--fail-on-warning",
                "--keep-going",
                "--quiet",
            ]
            done = subprocess.run(
                [*command, "-c", str(paths.root() / "docs"), str(source), str(shared / "building")],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-5000:]
            (shared / "building").rename(shared / "html")
    return shared / "html"


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; skips where there is none."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make setup"
    )
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with api.sync_playwright() as playwright:
        if not found and not Path(playwright.chromium.executable_path).is_file():
            pytest.skip("there is no Chromium: install one (Debian: apt install chromium)")
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield started
        started.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(browser, site):  # the browser first: without one nothing is built for it
    """Where the site is served, on this machine."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Watched:
    """A page of a browser, and what went wrong on it."""

    def __init__(self, page, address):
        self.page, self.address, self.problems = page, address, []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)

    def _console(self, message):
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"asks another host: {request.url}")

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # by the next page
            self.problems.append(f"failed: {request.url} ({request.failure})")

    def open(self, name):
        """Open a page of the site and wait until its mathematics is drawn."""
        self.page.goto(f"{self.address}/{name}", wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page


@pytest.fixture
def watched(browser, address):
    """A fresh page; at the end nothing may have gone wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = Watched(context.new_page(), address)
    yield page
    context.close()
    assert not page.problems, "\n".join(page.problems)
