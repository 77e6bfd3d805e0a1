"""The figure says what the numbers say, and two runs write the same bytes."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.result import cka_result
from cvbench.errors import UsageError
from cvbench.jobs.figures.base import save_figure
from tests.jobs.elsewhere import draw_elsewhere, drawn
from tests.jobs.figures.within import cut, saved
from tests.jobs.report_store import small_tsne

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def result_of(backbones: dict[str, int], constant: int | None = None) -> Result:
    layers = [Layer(name, f"blocks.{i}") for name, count in backbones.items() for i in range(count)]
    rng = np.random.default_rng(3)
    factors = np.cumsum(rng.normal(size=(6, len(layers), 4)), axis=1)
    hsic = factors @ factors.transpose(0, 2, 1)
    if constant is not None:
        hsic[:, constant] = hsic[:, :, constant] = 0
    attrs = {"estimator": "minibatch", "batch_size": 32, "samples": 192, "dropped": 0}
    return cka_result(layers, hsic, {**attrs, "confidence": 0.95})


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    result = result_of({"a": 3, "b": 2})
    draw_elsewhere(result, tmp_path / "one" / "cka", ("svg", "png", "pdf"))
    drawn(result, tmp_path / "two" / "cka", ("svg", "png", "pdf"))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["cka.csv", "cka.pdf", "cka.png", "cka.svg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def panels(names: tuple[str, ...] = ("ant", "bee")) -> Figure:
    """What figures of the product are made of: parts, images, curves, bars of colour, titles, ticks, legends."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.3, 6.1), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    above, below = parts
    above.suptitle(names[0], fontsize=8)
    axes = above.subplots(2, 3, squeeze=False)
    for axis, name in zip(axes.flat, [*names] * 3, strict=False):
        image = axis.imshow(np.arange(12).reshape(3, 4), extent=(0, 4, 3, 0))
        axis.set_title(name, fontsize=7)
        axis.set_xticks(range(len(names)), names, rotation=90)
    above.colorbar(image, ax=axes[:, 2])
    curves = below.subplots(1, 2)
    curves[0].plot([1, 2, 3], [0.1, 0.3, 0.5], label=names[0], marker="o")
    curves[0].fill_between([1, 2, 3], [0, 0, 0.1], [1, 1, 1.1], alpha=0.2)
    curves[0].legend()
    curves[1].annotate(names[-1], (0.3, 0.3))
    return figure


def test_the_last_bits_of_a_layout_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver's sums depend on addresses, so on all that a process has done before."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.transforms import Bbox

    execute = ConstrainedLayoutEngine.execute
    rng = np.random.default_rng(0)

    def shaken(engine: Any, figure: Any) -> Any:
        done = execute(engine, figure)
        for axes in figure.axes:
            noise = rng.normal(0, 1e-15, (2, 2))
            axes._set_position(Bbox(axes.get_position(original=True).get_points() + noise), which="original")
        for part in figure.subfigs:
            part.bbox_relative.p1 = part.bbox_relative.p1 + rng.normal(0, 1e-15, 2)
        return done

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", shaken)
    drawn = [
        [path.read_bytes() for path in save_figure(draw, [{"a": 1}], tmp_path / "x", ("svg", "png", "pdf"))]
        for draw in (panels, panels, panels)
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    sizes = re.findall(rb'<svg [^>]*width="([^"]*)"', drawn[0][0])
    assert sizes == [b"525.6pt"], "the figure keeps its size"


def test_no_label_is_cut_and_no_title_runs_into_another_part(tmp_path: Path) -> None:
    """For the default pair: long names, 36 and 12 layers."""
    from cvbench.jobs.figures.cka import cka_figure

    result = result_of({"convnext_base.fb_in22k": 36, "vit_base_patch16_224.augreg_in21k": 12})
    for layer in result.attrs["layers"]:
        layer["tap"] = f"stages.2.{layer['tap']}" if "convnext" in layer["backbone"] else layer["tap"]
    figure = saved(lambda: cka_figure(result, ()), tmp_path)
    axes = [one for part in figure.subfigs for one in part.axes]
    panels = [one for one in axes if one.get_title()]
    (bar,) = (one for one in axes if one not in panels and one.axison)
    assert cut(figure) == []
    for panel in panels:
        others = [one.get_tightbbox() for one in (bar, *panels) if one is not panel]
        title = panel.title.get_window_extent()
        assert not any(title.overlaps(box) for box in others if box is not None), panel.get_title()


def test_the_picture_of_the_readme_is_whole(tmp_path: Path) -> None:
    """A small pair, of whose stages each is one layer."""
    from cvbench.jobs.figures.cka import cka_figure

    result = result_of({"test_convnext3@128": 4, "test_vit@128": 6})
    for number, layer in enumerate(result.attrs["layers"][:4]):
        layer["tap"] = f"stages.{number}.blocks.0"
    figure = saved(lambda: cka_figure(result, ()), tmp_path)
    assert cut(figure) == []
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() / 3)
    figure.draw_without_rendering()
    assert cut(figure), "what is cut is found"


def test_a_footnote_stands_below_what_is_above_it(tmp_path: Path) -> None:
    """One pass of the layout does not know yet how high the captions are."""
    from cvbench.jobs.figures.tsne import tsne_figure

    kept: list[Figure] = []

    def draw() -> Figure:
        kept.append(tsne_figure(small_tsne({"vit": 1, "cnn": 1}, ("a", "b")), ()))
        return kept[0]

    save_figure(draw, [{"a": 1}], tmp_path / "x", ("png",))
    (figure,) = kept
    figure.draw_without_rendering()
    below = max(text.get_window_extent().y1 for text in figure.texts)
    captions = [axis.xaxis.label.get_window_extent().y0 for axis in figure.axes if axis.axison]
    assert min(captions) >= below


NAMES = (r"$\frac{", r"a_b^c \d {x} $1$", "bell\x07 esc\x1b[2J", "<!-- --> ]]> & <b>")


def test_each_file_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawing: list[Any] = []
    draw = Figure.draw

    def counted(figure: Figure, renderer: Any) -> None:
        drawing.append(renderer)
        draw(figure, renderer)

    monkeypatch.setattr(Figure, "draw", counted)
    save_figure(panels, [{"a": 1}], tmp_path / "figure", ("svg", "png"))
    assert len(drawing) == 2


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Not as mathematics, and without characters that XML forbids: the drawing can be parsed, and holds the names."""
    svg, _, _ = save_figure(lambda: panels(NAMES), [{"a": 1}], tmp_path / "x", ("svg", "pdf"))
    ElementTree.parse(svg)
    text = svg.read_text()
    assert r"<!-- $\frac{ -->" in text
    assert r"<!-- a_b^c \d {x} $1$ -->" in text
    assert r"<!-- bell\x07 esc\x1b[2J -->" in text


@pytest.mark.parametrize("top", [5.0, 50.0])  # of several powers, and of so few that what is between them is named too
def test_a_logarithmic_axis_has_numbers(tmp_path: Path, top: float) -> None:
    from matplotlib.figure import Figure

    def draw() -> Figure:
        figure = Figure(layout="constrained")
        axis = figure.subplots()
        axis.plot([0, 1], [0.6, top])
        axis.set_yscale("log")
        return figure

    (svg, _) = save_figure(draw, [{"value": top}], tmp_path / "figure", ["svg"])
    named = re.findall(r"<!-- (.*?) -->", svg.read_text())  # letters are outlines; comments say which
    assert "1" in named
    assert ("10" in named) == (top > 10)
    assert ("2" in named) == (top < 10)
    assert not any("$" in text or "math" in text for text in named)


def test_numbers_beside_a_figure_hold_no_formula(tmp_path: Path) -> None:
    rows = [{"image": name, "value": -0.5} for name in ("=cmd|' /C calc'!A0", "+1+1", "@x", "\t=1", "a=b", "-3")]
    *_, table = save_figure(panels, rows, tmp_path / "x", ("png",))
    assert [row["image"] for row in csv.DictReader(io.StringIO(table.read_text()))] == [
        "'=cmd|' /C calc'!A0",
        "'+1+1",
        "'@x",
        "'\t=1",
        "a=b",
        "-3",
    ]
    assert {row["value"] for row in csv.DictReader(io.StringIO(table.read_text()))} == {"-0.5"}


def test_every_figure_is_saved_in_one_place() -> None:
    """So that all of the above is true of each of them."""
    folder = Path(__file__).parents[3] / "jobs"
    pattern = re.compile(r"savefig|csv\.writer|DictWriter")
    assert {path.name for path in folder.rglob("*.py") if pattern.search(path.read_text())} == {
        "base.py",
        "comparison.py",  # a table, its cells by `csv_cell` too
        "document.py",
    }


def test_the_users_settings_do_not_change_the_figure(tmp_path: Path) -> None:
    import matplotlib as mpl

    drawn(result_of({"a": 3}), tmp_path / "plain")
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "x"}):
        drawn(result_of({"a": 3}), tmp_path / "odd")
        assert mpl.rcParams["font.size"] == 20
    for suffix in ("svg", "png"):
        assert (tmp_path / f"plain.{suffix}").read_bytes() == (tmp_path / f"odd.{suffix}").read_bytes()


@pytest.mark.parametrize(("backbones", "panels"), [({"a": 4}, 1), ({"a": 5, "b": 3}, 3), ({"a": 2, "b": 3, "c": 1}, 6)])
def test_one_panel_within_and_per_pair(tmp_path: Path, backbones: dict[str, int], panels: int) -> None:
    svg = drawn(result_of(backbones), tmp_path / "cka", ["svg"])[0].read_text()
    assert svg.count("<image ") == panels + 1  # and the colour bar


def test_the_csv_holds_the_exact_numbers(tmp_path: Path) -> None:
    result = result_of({"a": 2, "b": 1}, constant=1)
    path = drawn(result, tmp_path / "deep" / "cka.v1", ["png"])[-1]
    assert path.name == "cka.v1.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len([row for row in rows if row["layer"]]) == 6
    found = {(row["backbone"], row["layer"], row["backbone_b"], row["layer_b"]): row for row in rows}
    other = found["a", "blocks.0", "b", "blocks.0"]
    assert float(other["value"]) == result.data["cka"][1][0, 2]
    assert float(other["low"]) == result.data["low"][1][0, 2]
    assert found["a", "blocks.0", "a", "blocks.1"]["value"] == ""


def test_an_undefined_layer_is_grey(tmp_path: Path) -> None:
    from matplotlib.image import imread

    whole, partly = (imread(drawn(result_of({"a": 4}, constant=c), tmp_path / str(c), ["png"])[0]) for c in (None, 1))
    grey = [(np.abs(image[..., :3] - 0.8).max(axis=-1) < 0.01).mean() for image in (whole, partly)]
    assert grey[1] > grey[0] + 0.05


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        drawn(result_of({"a": 2}), tmp_path / "cka", ["svg", "gif"])
    assert not list(tmp_path.iterdir())


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, cvbench.jobs.figures.cka; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
