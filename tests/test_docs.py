"""The documentation's site: it builds without a warning, has all of the API, and is looked at."""

import functools
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

import seqjax

ROOT = Path(__file__).parent.parent
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser", "chrome"))),
    None,
)
PACKAGES = ("ops", "nn", "models", "train", "data", "forecast", "io")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site: .ci/run has built it before (SITE)."""
    if folder := os.environ.get("SITE"):
        return Path(folder)
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it would hide warnings from --strict, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_public_name_is_told_once(site):
    for package in PACKAGES:
        html = (site / "api" / f"{package}.html").read_text()
        ids = re.findall(r'id="(seqjax\.[\w.]+)"', html)
        assert len(ids) == len(set(ids))
        module, told = importlib.import_module(f"seqjax.{package}"), 0
        for name, value in vars(module).items():
            if name.startswith("_") or not getattr(value, "__module__", "").startswith("seqjax."):
                continue
            if hasattr(value, "cell_type"):  # made at run time
                assert f"<code>{name}</code>" in html
            else:
                assert f"{value.__module__}.{value.__qualname__}" in ids
            told += 1
        assert told >= 8


def test_names_in_code_are_links_and_examples_are_code(site):
    engine = (site / "engine.html").read_text()
    assert 'href="api/ops.html#seqjax.ops.linear_recurrence.linear_recurrence"' in engine
    ops = (site / "api" / "ops.html").read_text()
    assert ops.count("&gt;&gt;&gt;") + ops.count('<span class="gp">&gt;&gt;&gt;') > 50
    assert "index.html" not in re.findall(r'href="([^"]*ipynb)"', engine)
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("seqjax.ops.lstm.lstm" in one["location"] for one in index["docs"])


def test_nothing_comes_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        for tag in re.findall(r"<(?:script|link|img|iframe)[^>]*>", page.read_text()):
            assert not re.search(r'(?:src|href)="?(?:https?:)?//', tag), f"{page.name}: {tag}"


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == seqjax.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"authors", "message", "title"} < citation.keys()
    assert f"\n## {seqjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert 'path = "seqjax/__init__.py"' in (ROOT / "pyproject.toml").read_text()


LOOKED_AT = ("index.html", "chapter15.html", "api/ops.html", "notebooks/milk.html")
LOOK = (
    "<!doctype html><body>"
    + "".join(
        f'<iframe width="{width}" height="900" style="border:0" src="/{page}"></iframe>'
        for page in LOOKED_AT
        for width in (390, 1280)
    )
    + """<script>addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, all = what => [...page.querySelectorAll(what)];
    const entries = frame.contentWindow.performance.getEntriesByType("resource");
    const right = element => element.getBoundingClientRect().right;
    return {
      overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      beyond: all("article > :is(h1, h2, h3, p, ul, img), article .doc-heading")
        .filter(e => right(e) > frame.width).map(e => e.textContent.slice(0, 40)),
      broken: all("img").filter(e => !e.naturalWidth).map(e => e.src),
      foreign: entries.map(e => e.name).filter(e => !e.startsWith(location.origin)),
      read: all("article > p, article .doc-heading").length > 3,
    };
  });
  document.body.textContent = JSON.stringify(found);
});</script>"""
)


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/look":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(LOOK.encode())
        return None

    def log_message(self, *_):
        pass


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_shows_pages_on_a_phone_and_a_desk(site, tmp_path):
    handler = functools.partial(Handler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            f"http://127.0.0.1:{server.server_port}/look",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        server.shutdown()
    seen = json.loads(done.stdout.partition("<body>")[2].partition("</body>")[0])
    assert len(seen) == 2 * len(LOOKED_AT)
    for look in seen:
        assert look == {"overflow": 0, "beyond": [], "broken": [], "foreign": [], "read": True}
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
