"""The documentation as a site: built without a warning, complete, and without a request to anyone."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

import cvbench
from cvbench.cli.app import app
from tests.browser.test_report import BINARY, QUIET
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `mkdocs build --strict` builds it."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    here = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=here, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return out


class Loaded(HTMLParser):
    """What a page makes a browser load: addresses of scripts, styles, pictures and frames, but not of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next", "edit"):
            self.found.append(given.get("href") or "")
        self.found += [given.get(name) or "" for name in ("src", "data", "poster", "action") if given.get(name)]
        self.found += re.findall(r"url\(['\"]?([^'\")]+)", given.get("style") or "")


def foreign(address: str) -> bool:
    return re.match(r"(?:[a-z+]+:)?//", address.strip()) is not None


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 18
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.found
        assert [one for one in loaded.found if foreign(one)] == [], page
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", style.read_text())
        assert [one for one in found if foreign(one)] == [], style


def test_a_foreign_address_is_seen() -> None:
    loaded = Loaded()
    loaded.feed(
        '<script src="https://cdn.example/x.js"></script><img src="//example/a"><a href="https://x.example"></a>'
    )
    assert [foreign(one) for one in loaded.found] == [True, True]


def test_every_command_has_its_section(site: Path) -> None:
    text = (site / "reference/commands.html").read_text()
    shown = re.findall(r"<h2[^>]*><code>(cvbench [^<]+)</code>", text)
    assert shown == list(leaves("cvbench", typer.main.get_command(app)))
    assert "<code>--address</code>" in text
    assert "Share of unreadable samples that is tolerated." in text


def leaves(name: str, command: Any) -> Iterator[str]:
    """Every command below a group."""
    if not hasattr(command, "list_commands"):
        yield name
        return
    context = typer.Context(command, info_name=name)
    for word in command.list_commands(context):
        yield from leaves(f"{name} {word}", command.get_command(context, word))


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    functions = (site / "reference/functions.html").read_text()
    classes = (site / "reference/python.html").read_text()
    groups = ("analyze", "evaluate", "transfer")
    for name in {*cvbench.__all__} - {"__version__", "errors", *groups}:
        if isinstance(getattr(cvbench, name), type):
            assert re.search(rf'id="cvbench\.[\w.]+\.{name}"', classes), name
        else:
            assert f"<code>cvbench.{name}</code>" in functions, name
    for group in groups:
        for name in dir(getattr(cvbench, group)):
            assert f"<code>cvbench.{group}.{name}</code>" in functions, name


def test_security_is_the_file_of_the_repository(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "security.html").read_text())
    for heading in re.findall(r"^## (.+)$", (ROOT / "SECURITY.md").read_text(), flags=re.MULTILINE):
        assert heading in text


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a port of this machine: of files a browser does not say what it loads."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


PROBE = """<script>window.addEventListener("load", () => setTimeout(() => {
  const wide = document.documentElement.scrollWidth - innerWidth;
  const names = performance.getEntriesByType("resource").map(entry => entry.name);
  document.body.innerHTML = '<pre id="probe"></pre>';
  document.getElementById("probe").textContent = JSON.stringify({names, wide});
}, 300));</script>"""


@pytest.mark.skipif(BINARY is None, reason="no Chromium is installed")
@pytest.mark.parametrize("name", ["index", "concepts", "reference/commands", "notebooks/images_to_cka"])
def test_a_browser_asks_nobody(site: Path, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(site, tmp_path / "site")
    page = folder / f"{name}.html"
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    with served(folder) as root:
        options = ("--dump-dom", "--virtual-time-budget=30000", "--window-size=500,900")
        command = [str(BINARY), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *options, f"{root}/{name}.html"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=True, stdin=subprocess.DEVNULL
        )
    seen = done.stdout
    probe = re.search(r'<pre id="probe">(.*?)</pre>', seen, flags=re.DOTALL)
    assert probe, seen[-2000:]
    found = json.loads(probe[1].replace("&amp;", "&"))
    assert len(found["names"]) > 3
    assert all(one.startswith((root, "data:", "blob:")) for one in found["names"]), found["names"]
    assert found["wide"] <= 1
