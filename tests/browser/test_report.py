"""The report in a real browser: figures are drawn and can be walked through, nothing is fetched, nothing overflows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from cvbench.jobs.analyses.maps import maps
from cvbench.jobs.analyses.options import MapsOptions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.report import report
from cvbench.jobs.report.comparison import compare
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from tests.jobs.figures.test_evaluation import factors
from tests.jobs.report_store import HOSTILE, foreign, put, small_cka, small_silhouette, small_tsne

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BINARY = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BINARY is None, reason=f"none of {', '.join(BROWSERS)} is installed")

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
FIGURES = 7
# Windows have 500 pixels at least; a frame has the width of a phone. It shows what the probe says.
FRAME = """<!doctype html><body style="margin: 0">
<iframe src="{page}" style="border: 0; width: {width}px; height: 1200px"></iframe>
<script>addEventListener("message", event => {{
  document.body.replaceChildren(Object.assign(document.createElement("pre"), {{id: "probe", textContent: event.data}}));
}});</script>"""
# Put before all else into a copy whose policy has its digest too, so that all other rules hold: what a reader does.
PROBE = """
const seen = {errors: [], violations: []};
addEventListener("error", event => seen.errors.push(String(event.message)));
document.addEventListener("securitypolicyviolation", event => seen.violations.push(event.violatedDirective));
for (const name of ["error", "warn"])
  console[name] = (...words) => seen.errors.push(words.map(String).join(" "));
const text = (root, selector) => root.querySelector(selector).textContent;
const wait = time => new Promise(resolve => setTimeout(resolve, time));
const until = async ready => { for (let i = 0; i < 200 && !ready(); i += 1) await wait(50); };
/** Texts that leave the card that they stand in; a card that scrolls has its own bar for them. */
function crossing() {
  const found = [];
  for (const card of document.querySelectorAll("main .scroll, main figure, main .note, main pre, main .claim")) {
    if (getComputedStyle(card).overflowX !== "visible") continue;
    const box = card.getBoundingClientRect(), walker = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const inside = node.parentElement.closest("svg, caption, .scroll");
      if (!node.data.trim() || inside !== card.closest(".scroll")) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const line of range.getClientRects())
        if (line.width && (line.right > box.right + 1 || line.left < box.left - 1)) found.push(node.data.trim());
    }
  }
  return found;
}
async function look() {
  const root = document.documentElement, wide = [];
  for (const folded of document.querySelectorAll("main details")) folded.open = true;
  for (const element of document.querySelectorAll("main *"))
    if (!element.closest(".scroll, svg") && element.getBoundingClientRect().width
        && element.getBoundingClientRect().right > innerWidth + 1)
      wide.push(element.tagName + "." + element.className);
  Object.assign(seen, {
    crossing: crossing(), claims: document.querySelectorAll(".claim").length,
    title: document.title, width: innerWidth, scroll: root.scrollWidth, wide,
    images: [...document.querySelectorAll(".static img")].map(
      image => [image.naturalWidth, image.getBoundingClientRect().width]),
    fetched: performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40)),
    dark: getComputedStyle(document.body).backgroundColor,
    live: document.querySelectorAll("figure.is-live").length,
    twins: document.querySelectorAll("figure[data-twin]").length,
    charts: document.querySelectorAll(".chart svg.marks, .chart canvas.marks").length,
    panels: document.querySelectorAll(".panel").length,
    ink: document.querySelector(".chart svg text") && document.querySelector(".chart svg text").getAttribute("fill"),
    folded: !document.querySelector("nav details").open,
    rows: [...document.querySelectorAll(".numbers tbody tr")].slice(0, 3).map(row => {
      const box = row.querySelector(".value").getBoundingClientRect();
      return [box.left >= 0 && box.right <= innerWidth, box.top - row.getBoundingClientRect().top];
    }),
  });
}
async function walk() {
  const of = name => [...document.querySelectorAll("figure.is-live")].find(
    figure => figure.closest("article").id.startsWith(name));
  const cka = of("cka"), panel = cka.querySelector(".panel"), cell = panel.querySelectorAll(".mark-rect path")[1];
  const send = (target, x, y) => {
    const at = {clientX: x, clientY: y, bubbles: true, view: window};
    target.dispatchEvent(new PointerEvent("pointermove", at));
    target.dispatchEvent(new MouseEvent("mousemove", at));
  };
  if (cell) {
    const box = cell.getBoundingClientRect();
    send(cell, box.left + box.width / 2, box.top + box.height / 2);
    await until(() => !document.querySelector(".tip").hidden);
    seen.hover = text(cka, ".readout p");
    seen.tip = text(document, ".tip p");
    seen.tipShown = !document.querySelector(".tip").hidden;
  }
  panel.dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}));
  seen.end = text(cka, ".readout p");
  panel.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}));
  seen.left = text(cka, ".readout p");
  const ratios = of("imagenet-x");
  ratios.querySelector(".panel").dispatchEvent(new KeyboardEvent("keydown", {key: "Home", bubbles: true}));
  seen.ratio = text(ratios, ".readout p");
  ratios.querySelector(".panel").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", bubbles: true}));
  seen.below = text(ratios, ".readout p");
  seen.apart = [...ratios.querySelectorAll(".panel")].map(
    panel => [...panel.querySelectorAll(".mark-symbol.role-mark path")].map(path => path.getAttribute("fill-opacity")));
  const tsne = of("tsne"), points = tsne.querySelector(".panel");
  const canvas = tsne.querySelector(".readout canvas");
  await until(() => {  // the sheet of pictures is decoded when the browser comes to it
    for (const key of ["Home", "ArrowRight"]) points.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    return !canvas.hidden;
  });
  seen.point = text(tsne, ".readout p");
  const pixels = [...canvas.getContext("2d").getImageData(0, 0, 64, 64).data];
  seen.thumbnail = !canvas.hidden && pixels.some((value, i) => i % 4 < 3 && value > 100);
  seen.legend = [...tsne.querySelectorAll(".role-legend-label text")].map(one => one.textContent);
  const maps = of("maps"), slider = maps.querySelector("input[type=range]");
  const overs = () => [...maps.querySelectorAll(".over")].map(image => image.src + image.alt);
  const before = overs();
  seen.steps = Number(slider.max) + 1;
  seen.step = text(maps, "output");
  slider.value = slider.max;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  await until(() => overs().every((one, i) => one !== before[i]));
  seen.stepAfter = text(maps, "output");
  seen.changed = overs().filter((one, i) => one !== before[i]).length;
  seen.overs = before.length;
  seen.alts = [...maps.querySelectorAll(".over")].map(image => image.alt);
  const button = cka.querySelector(".switch");
  const shown = () => cka.querySelector(".static").getBoundingClientRect().height > 50;
  seen.still = [shown(), (button.click(), shown()), button.getAttribute("aria-pressed"), (button.click(), shown())];
}
addEventListener("load", async () => {
  const root = document.documentElement;
  for (let i = 0; i < 400 && document.querySelector(".live") && !root.dataset.drawn; i += 1) await wait(50);
  try {
    await look();
    if (document.querySelector("figure.is-live")) await walk();
  } catch (error) { seen.errors.push("probe: " + error.stack); }
  parent.postMessage(JSON.stringify(seen), "*");
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
    put(store, factors(), "x1", "imagenet-val")
    put(store, foreign(HOSTILE), "c1")
    return report(url, str(folder)).page


def probe(page: Path, scratch: Path, width: int = 1280, *options: str, scripts: bool = True) -> dict[str, Any]:
    """What the probe sees and does in a copy of the page; the policy is the page's own, with the probe's digest.

    Args:
        scripts: Whether those of the page run; if not, they are cut out of the copy.
    """
    html = page.read_text(encoding="utf-8")
    if not scripts:
        html = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    found = re.search(r'content="(default-src [^"]*)"', html)
    assert found is not None
    policy, added = unescape(found[1]), f"script-src 'sha256-{digest}'"
    policy = policy.replace("script-src", added) if "script-src" in policy else f"{policy}; {added}"
    free = html.replace(found[0], f'content="{escape(policy)}"')
    copy, frame = scratch / "probed.html", scratch / "frame.html"
    copy.write_text(free.replace("</title>", f"</title><script>{PROBE}</script>", 1), encoding="utf-8")
    frame.write_text(FRAME.format(page=copy.as_uri(), width=width))
    window = f"--window-size={max(width, 500)},1200"
    dom = browse(frame, scratch, "--virtual-time-budget=60000", "--dump-dom", window, *options)
    match = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert match is not None, dom[-2000:]
    seen: dict[str, Any] = json.loads(unescape(match[1]))
    return seen


@pytest.fixture(scope="module")
def seen(page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probe(page, tmp_path_factory.mktemp("seen"))


def quiet(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert seen["violations"] == []
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert seen["title"].startswith("cvbench: "), "the hostile names would have changed it"


def test_every_chart_is_drawn_under_the_policy(seen: dict[str, Any]) -> None:
    quiet(seen)
    assert seen["live"] == seen["twins"] == 6
    assert seen["charts"] == seen["panels"] == 3 + 1 + 2 + 2 + 1 + 2


def test_a_cell_says_its_pair_and_its_interval(seen: dict[str, Any]) -> None:
    said = r"row blocks\.0, column blocks\.1, CKA [−\d.]+, from [−\d.]+, to [−\d.]+"
    assert re.search(said, seen["hover"])
    assert re.fullmatch(said, seen["tip"])
    assert seen["tipShown"]
    assert "row blocks.11, column blocks.11" in seen["end"]
    assert "row blocks.11, column blocks.10" in seen["left"]


def test_a_number_says_its_line_and_its_interval(seen: dict[str, Any]) -> None:
    title = "error ratio of each factor, 95 % intervals over images"
    axis = "error ratio: errors with the factor / errors overall"
    assert seen["ratio"] == f"{title}: of vit, on pose (40), {axis} 0.9, from 0.7, to 1.2, n 40"
    assert seen["below"].startswith(f"{title}: of vit, on partial view (40), {axis} 1.4, ")
    ratios, differences = seen["apart"]
    assert set(ratios) <= {None, "1"}
    assert "0" in differences, "what is not resolved is hollow"


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
    found = probe(page, tmp_path, width)
    quiet(found)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert found["claims"] > 0
    assert found["crossing"] == []
    assert found["live"] == 6
    assert found["folded"] == (width < 992)
    assert all(inside for inside, _ in found["rows"])
    if width < 832:
        assert max(top for _, top in found["rows"]) < 20, "the value is the first of its row"


def test_without_scripts_the_static_figures_stay(page: Path, tmp_path: Path) -> None:
    found = probe(page, tmp_path, scripts=False)
    quiet(found)
    assert (found["live"], found["charts"]) == (0, 0)
    assert len(found["images"]) == FIGURES
    assert all(natural > 100 and 100 < shown <= 1280 for natural, shown in found["images"])
    assert (found["scroll"], found["wide"]) == (1280, [])


def test_charts_follow_light_and_dark(page: Path, tmp_path: Path) -> None:
    light, dark = (probe(page, tmp_path, 1280, f"--blink-settings=preferredColorScheme={n}") for n in (1, 0))
    quiet(dark)
    assert light["dark"] != dark["dark"]
    assert light["ink"] != dark["ink"]


def test_it_can_be_printed(page: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    browse(page, tmp_path, f"--print-to-pdf={path}", "--no-pdf-header-footer", "--virtual-time-budget=20000")
    data = path.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 10 < pages < 30  # 24; with the tables of all numbers 36


def test_two_stores_side_by_side(tmp_path: Path) -> None:
    urls = []
    for name, layers in (("one", 3), ("two", 4)):
        store = FeatureStore.open(f"memory://browser-{name}", mode="a")
        put(store, small_cka({"vit": layers, "cnn": 2}), "a1")
        urls.append(store.url)
    found = probe(compare(urls[0], urls[1], str(tmp_path)).page, tmp_path, 390)
    quiet(found)
    assert (found["scroll"], found["wide"]) == (390, [])
