"""The report in a real browser: figures are drawn and can be walked through, nothing is fetched, nothing overflows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from cvbench.jobs.analyses.maps import MapsOptions, maps
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.report import report
from cvbench.jobs.report.comparison import compare
from cvbench.jobs.running.executor import Cluster
from cvbench.storage.features import FeatureStore
from tests.jobs.report_store import HOSTILE, foreign, put, small_cka, small_silhouette, small_tsne

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BINARY = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BINARY is None, reason=f"none of {', '.join(BROWSERS)} is installed")

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
NO_SCRIPTS = "--blink-settings=scriptEnabled=false"
FIGURES = 8
# Put before all else into a copy whose policy has its digest too, so that all other rules hold: what a reader does.
PROBE = """
const seen = {errors: [], violations: []};
addEventListener("error", event => seen.errors.push(String(event.message)));
document.addEventListener("securitypolicyviolation", event => seen.violations.push(event.violatedDirective + " " + event.sample));
for (const name of ["error", "warn"]) console[name] = (...words) => seen.errors.push(words.map(String).join(" "));
const text = (root, selector) => root.querySelector(selector).textContent;
const wait = time => new Promise(resolve => setTimeout(resolve, time));
async function look() {
  const root = document.documentElement, wide = [];
  for (const element of document.querySelectorAll("main *"))
    if (!element.closest(".scroll, svg") && element.getBoundingClientRect().width
        && element.getBoundingClientRect().right > innerWidth + 1)
      wide.push(element.tagName + "." + element.className);
  Object.assign(seen, {
    title: document.title, width: innerWidth, scroll: root.scrollWidth, wide,
    images: [...document.querySelectorAll(".static img")].map(image => [image.naturalWidth, image.getBoundingClientRect().width]),
    fetched: performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40)),
    dark: getComputedStyle(document.body).backgroundColor,
    live: document.querySelectorAll("figure.is-live").length,
    twins: document.querySelectorAll("figure[data-twin]").length,
    charts: document.querySelectorAll(".chart svg.marks, .chart canvas.marks").length,
    panels: document.querySelectorAll(".panel").length,
    ink: document.querySelector(".chart svg text") && document.querySelector(".chart svg text").getAttribute("fill"),
    folded: !document.querySelector("nav details").open,
    rows: [...document.querySelectorAll(".numbers tbody tr:not(.wide)")].slice(0, 3).map(row => {
      const box = row.querySelector(".value").getBoundingClientRect();
      return [box.left >= 0 && box.right <= innerWidth, box.top - row.getBoundingClientRect().top];
    }),
  });
}
async function walk() {
  const of = name => [...document.querySelectorAll("figure.is-live")].find(f => f.closest("article").id.startsWith(name));
  const cka = of("cka"), panel = cka.querySelector(".panel"), cell = panel.querySelectorAll(".mark-rect path")[1];
  const send = (target, x, y) => {
    for (const kind of ["pointermove", "mousemove"])
      target.dispatchEvent(new (kind[0] === "p" ? PointerEvent : MouseEvent)(kind, {clientX: x, clientY: y, bubbles: true, view: window}));
  };
  if (cell) {
    const box = cell.getBoundingClientRect();
    send(cell, box.left + box.width / 2, box.top + box.height / 2);
    await wait(50);
    seen.hover = text(cka, ".readout p");
    seen.tip = text(document, ".tip p");
    seen.tipShown = !document.querySelector(".tip").hidden;
  }
  panel.dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}));
  seen.end = text(cka, ".readout p");
  panel.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}));
  seen.left = text(cka, ".readout p");
  const tsne = of("tsne"), points = tsne.querySelector(".panel");
  await wait(300);
  points.dispatchEvent(new KeyboardEvent("keydown", {key: "Home", bubbles: true}));
  points.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  await wait(50);
  const canvas = tsne.querySelector(".readout canvas");
  seen.point = text(tsne, ".readout p");
  seen.thumbnail = !canvas.hidden && [...canvas.getContext("2d").getImageData(0, 0, 64, 64).data].some((v, i) => i % 4 < 3 && v > 100);
  seen.legend = [...tsne.querySelectorAll(".role-legend-label text")].map(one => one.textContent);
  const maps = of("maps"), slider = maps.querySelector("input[type=range]");
  const overs = () => [...maps.querySelectorAll(".over")].map(image => image.src + image.alt);
  const before = overs();
  seen.steps = Number(slider.max) + 1;
  seen.step = text(maps, "output");
  slider.value = slider.max;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  await wait(50);
  seen.stepAfter = text(maps, "output");
  seen.changed = overs().filter((one, i) => one !== before[i]).length;
  seen.overs = before.length;
  seen.alts = [...maps.querySelectorAll(".over")].map(image => image.alt);
  const button = cka.querySelector(".switch"), shown = () => cka.querySelector(".static").getBoundingClientRect().height > 50;
  seen.still = [shown(), (button.click(), shown()), button.getAttribute("aria-pressed"), (button.click(), shown())];
}
addEventListener("load", async () => {
  for (let i = 0; i < 400 && document.querySelector("figure[data-twin]") && !document.documentElement.dataset.drawn; i += 1) await wait(50);
  try { await look(); if (document.querySelector("figure.is-live")) await walk(); } catch (error) { seen.errors.push("probe: " + error.stack); }
  document.body.replaceChildren(Object.assign(document.createElement("pre"), {id: "probe", textContent: JSON.stringify(seen)}));
});
"""


def browse(page: Path, scratch: Path, *options: str) -> str:
    """Standard output of the browser on a page."""
    command = [str(BINARY), *QUIET, f"--user-data-dir={scratch / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True, stdin=subprocess.DEVNULL)
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long and hostile names, many layers, images that can be read, maps of some layers, a result without a section."""
    folder = tmp_path_factory.mktemp("browser")
    url = str(folder / "store.zarr")
    given: dict[str, Any] = {"limit": 40, "batch_size": 8, "unit": 40, "image_size": 64, "weights": ("random",)}
    chosen = ExtractOptions(
        dataset="digits", split="test", backbones=("test_vit",), store=url, views=("maps",), maps=40, **given
    )
    extract(chosen, Cluster(address="none"))
    maps(Selection(url, taps=("blocks.[024]",)), MapsOptions(), Cluster(address="none"))
    store = FeatureStore.open(url, mode="a")
    long = "vit_base_patch16_224.augreg2_in21k_ft_in1k_with_a_very_long_name"
    put(store, small_cka({long: 12, "convnext_base.fb_in22k": 20}), "a1")
    put(store, small_cka({long: 3}), "a2", batch_size=64)
    put(store, small_silhouette({long: 3, "cnn": 2}, (HOSTILE, "plain")), "b1")
    put(store, small_silhouette({long: 1, "cnn": 1}, ("a", "b", "c"), 0.3), "b2", "pets")
    put(store, small_tsne({long: 1, "cnn": 1}, (HOSTILE, "$\\frac{", 'it\'s "3"')), "t1", "digits")
    put(store, foreign(HOSTILE), "c1")
    return report(url, str(folder)).page


def probe(page: Path, scratch: Path, *options: str) -> dict[str, Any]:
    """What the probe sees and does in a copy of the page; the policy is the page's own, with the probe's digest."""
    html = page.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    found = re.search(r'content="(default-src [^"]*)"', html)
    assert found is not None
    policy = unescape(found[1])
    added = f"script-src 'sha256-{digest}'"
    policy = policy.replace("script-src", added) if "script-src" in policy else f"{policy}; {added}"
    free = html.replace(found[0], f'content="{escape(policy)}"')
    copy = page.with_name(f"probed-{abs(hash(options))}.html")
    copy.write_text(free.replace("</title>", f"</title><script>{PROBE}</script>", 1), encoding="utf-8")
    dom = browse(copy, scratch, "--virtual-time-budget=60000", "--dump-dom", *options)
    copy.unlink()
    match = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert match is not None, dom[-2000:]
    seen: dict[str, Any] = json.loads(unescape(match[1]))
    return seen


@pytest.fixture(scope="module")
def seen(page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probe(page, tmp_path_factory.mktemp("seen"), "--window-size=1280,1200")


def quiet(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert seen["violations"] == []
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert seen["title"].startswith("cvbench: "), "the hostile names would have changed it"


def test_every_chart_is_drawn_under_the_policy(seen: dict[str, Any]) -> None:
    quiet(seen)
    assert seen["live"] == seen["twins"] == 5
    assert seen["charts"] == seen["panels"] == 3 + 1 + 2 + 2 + 1


def test_a_cell_says_its_pair_and_its_interval(seen: dict[str, Any]) -> None:
    said = r"row blocks\.0, column blocks\.1, CKA [−\d.]+, from [−\d.]+, to [−\d.]+"
    assert re.search(said, seen["hover"])
    assert re.fullmatch(said, seen["tip"])
    assert seen["tipShown"]
    assert "row blocks.11, column blocks.11" in seen["end"]
    assert "row blocks.11, column blocks.10" in seen["left"]


def test_a_point_shows_its_image_and_names_are_text(seen: dict[str, Any]) -> None:
    assert seen["point"].endswith("class $\\frac{, image 1")
    assert seen["thumbnail"]
    assert 'it\'s "3"' in seen["legend"]


def test_one_slider_goes_through_the_layers(seen: dict[str, Any]) -> None:
    assert (seen["steps"], seen["step"], seen["stepAfter"]) == (3, "depth 0 %", "depth 100 %")
    assert seen["changed"] == seen["overs"] >= 2
    assert all("blocks.4" in alt for alt in seen["alts"])


def test_the_static_figure_is_one_key_away(seen: dict[str, Any]) -> None:
    assert seen["still"] == [False, True, "true", False]


@pytest.mark.parametrize("width", [320, 390, 768, 2560])
def test_nothing_overflows_at_any_width(page: Path, tmp_path: Path, width: int) -> None:
    found = probe(page, tmp_path, f"--window-size={width},1200")
    quiet(found)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert found["live"] == 5
    assert found["folded"] == (width < 992)
    assert all(inside for inside, _ in found["rows"])
    if width < 640:
        assert max(top for _, top in found["rows"]) < 20, "the value is the first of its row"


def test_without_scripts_the_static_figures_stay(page: Path, tmp_path: Path) -> None:
    dom = browse(page, tmp_path, NO_SCRIPTS, "--dump-dom")
    for heading in ("Key numbers", "Layerwise similarity: linear CKA", "Class separation: silhouette", "Other results"):
        assert re.search(rf"<h2[^>]*>{heading}</h2>", dom), heading
    assert dom.count("<article") == 7
    assert dom.count('<div class="static"><img') == FIGURES - 1
    assert 'class="is-live"' not in dom
    assert not re.findall(r"<(?:iframe|object|link)\b", dom)
    assert not re.findall(r"""<[^>]*\s(?:src|href|action|poster)=["']?\s*(?:https?:)?//""", dom)
    still, live = (pixels(page, tmp_path, name, *options) for name, options in (("a", [NO_SCRIPTS]), ("b", [])))
    assert still != live


def pixels(page: Path, scratch: Path, name: str, *options: str) -> bytes:
    path = scratch / f"{name}.png"
    browse(page, scratch, f"--screenshot={path}", "--window-size=1280,4000", "--virtual-time-budget=20000", *options)
    data = path.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1280, 4000)
    return data


def test_charts_follow_light_and_dark(page: Path, tmp_path: Path, seen: dict[str, Any]) -> None:
    light, dark = (probe(page, tmp_path, f"--blink-settings=preferredColorScheme={n}") for n in (1, 0))
    quiet(dark)
    assert light["dark"] != dark["dark"]
    assert light["ink"] != dark["ink"]


def test_it_can_be_printed(page: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    browse(page, tmp_path, f"--print-to-pdf={path}", "--no-pdf-header-footer", "--virtual-time-budget=20000")
    assert path.read_bytes().startswith(b"%PDF")


def test_two_stores_side_by_side(tmp_path: Path) -> None:
    urls = []
    for name, layers in (("one", 3), ("two", 4)):
        store = FeatureStore.open(f"memory://browser-{name}", mode="a")
        put(store, small_cka({"vit": layers, "cnn": 2}), "a1")
        urls.append(store.url)
    found = probe(compare(*urls, str(tmp_path)).page, tmp_path, "--window-size=500,1200")
    quiet(found)
    assert (found["scroll"], found["wide"]) == (500, [])
