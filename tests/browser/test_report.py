"""The report in a real browser: everything is seen, nothing runs, nothing is fetched, nothing overflows."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cvbench.jobs.report import report
from cvbench.storage.features import FeatureStore
from tests.jobs.report_store import HOSTILE, foreign, put, small_cka, small_silhouette

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BINARY = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BINARY is None, reason=f"none of {', '.join(BROWSERS)} is installed")

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Appended to a copy without the policy that forbids scripts: what the browser made of the page.
PROBE = """<script>window.addEventListener("load", () => {
  const root = document.documentElement, wide = [];
  for (const element of document.querySelectorAll("main *"))
    if (!element.closest(".scroll, svg") && element.getBoundingClientRect().right > innerWidth + 1)
      wide.push(element.tagName + "." + element.className);
  const found = {
    title: document.title, width: innerWidth, scroll: root.scrollWidth, wide,
    images: [...document.images].map(image => [image.naturalWidth, image.getBoundingClientRect().width]),
    fetched: performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40)),
    dark: getComputedStyle(document.body).backgroundColor,
    card: getComputedStyle(document.querySelector("figure")).backgroundColor,
  };
  document.body.innerHTML = '<pre id="probe"></pre>';
  document.getElementById("probe").textContent = JSON.stringify(found);
});</script>"""


def browse(page: Path, scratch: Path, *options: str) -> str:
    """Standard output of the browser on a page."""
    command = [str(BINARY), *QUIET, f"--user-data-dir={scratch / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, stdin=subprocess.DEVNULL)
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long names, many layers, a hostile class name, a result without a section."""
    store = FeatureStore.open("memory://browser", mode="a")
    long = "vit_base_patch16_224.augreg2_in21k_ft_in1k_with_a_very_long_name"
    put(store, small_cka({long: 12, "convnext_base.fb_in22k": 20}), "a1")
    put(store, small_cka({long: 3}), "a2", batch_size=64)
    put(store, small_silhouette({long: 1, "cnn": 1}, (HOSTILE, "plain")), "b1")
    put(store, small_silhouette({long: 1, "cnn": 1}, ("a", "b", "c"), 0.3), "b2", "pets")
    put(store, foreign(HOSTILE), "c1")
    return report(store.url, str(tmp_path_factory.mktemp("browser"))).page


def probe(page: Path, scratch: Path, *options: str) -> dict[str, Any]:
    """What a script sees in a copy of the page that scripts may run in."""
    html = page.read_text(encoding="utf-8")
    free, changed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert changed == 1
    copy = page.with_name("probed.html")
    copy.write_text(free.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(copy, scratch, "--virtual-time-budget=3000", "--dump-dom", *options)
    copy.unlink()
    match = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert match is not None, dom[-2000:]
    text = match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_browser_sees_headings_figures_and_tables(page: Path, tmp_path: Path) -> None:
    dom = browse(page, tmp_path, "--dump-dom")
    for heading in ("Key numbers", "Layerwise similarity: linear CKA", "Class separation: silhouette", "Other results"):
        assert re.search(rf"<h2[^>]*>{heading}</h2>", dom), heading
    assert dom.count("<article") == 5
    assert dom.count("<figure") == 5  # the overview among them
    assert dom.count("<table") >= 8
    assert not re.findall(r"<(?:script|iframe|object|link)\b", dom)
    assert not re.findall(r"""(?:src|href|action|data|poster)=["']?\s*(?:https?:)?//""", dom)


@pytest.mark.parametrize("width", [1440, 700, 500])
def test_nothing_overflows_runs_or_is_fetched(page: Path, tmp_path: Path, width: int) -> None:
    seen = probe(page, tmp_path, f"--window-size={width},1200")
    assert seen["width"] == width
    assert seen["scroll"] <= width
    assert seen["wide"] == []
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert len(seen["images"]) == 5
    assert all(natural > 100 and 100 < shown <= width for natural, shown in seen["images"])
    assert seen["title"].startswith("cvbench: ")  # the hostile class name would have changed it


def test_in_the_dark_figures_keep_a_light_card(page: Path, tmp_path: Path) -> None:
    light, dark = (probe(page, tmp_path, f"--blink-settings=preferredColorScheme={n}") for n in (1, 0))
    assert light["dark"] != dark["dark"]
    assert light["card"] == dark["card"] == "rgb(255, 255, 255)"


def test_it_can_be_printed_and_photographed(page: Path, tmp_path: Path) -> None:
    browse(page, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1280,4000")
    assert struct.unpack(">II", (tmp_path / "page.png").read_bytes()[16:24]) == (1280, 4000)
