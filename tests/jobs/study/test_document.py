"""Study files: values with their lines, what is refused of YAML, and `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.study.document import MOST_BYTES, override, parse, read_document, spread

TEXT = """\
store: a.zarr
backbones: [vit.tag_a, {model: convnext}]
extract:
  image-size: 64
  limit:
analyses:
  - cka
  - spectra: {resamples: 5}
  - spectra:
"""


BOMB = "\n".join([f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(9)])
"""Nine times nine times nine ... values, by aliases."""


def value(*given: str) -> Any:
    return override(spread(parse(TEXT, "s.yaml")), given).value


def test_every_value_knows_its_line() -> None:
    document = spread(parse(TEXT, "s.yaml"))
    assert document.place(("extract", "image_size")) == "s.yaml:4"
    assert document.place(("extract", "image-size")) == "s.yaml:4"
    assert document.place(("analyses", 1, "spectra", "resamples")) == "s.yaml:8"
    assert document.place(("analyses", 0, "cka", "view")) == "s.yaml:7"  # not there: what it would be in
    assert document.place(("nothing",)) == "s.yaml:1"


def test_items_of_one_word_are_whole() -> None:
    assert value()["backbones"] == [{"model": "vit.tag_a"}, {"model": "convnext"}]
    assert value()["analyses"] == [{"cka": {}}, {"spectra": {"resamples": 5}}, {"spectra": {}}]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("a: 1\nb: [1\n", "s.yaml:3", "no YAML"),
        ("a: 1\nb-c: 2\nb_c: 3\n", "s.yaml:2 and s.yaml:3", "twice"),
        ("a: !!python/object/apply:os.system ['touch x']\n", "s.yaml:1", "python/object"),
        ("a: 1\nb: !!binary aGk=\n", "s.yaml:2", "binary"),
        ("? [a, b]\n: 1\n", "s.yaml:1", "no word"),
        ("a: &a [*a]\n", "s.yaml:1", "too large"),
        (BOMB, "", "too large"),
        ("a: " + "[" * 100_000, "s.yaml", "no YAML"),
        ("a: 1\nb: " + "1" * 5_000, "s.yaml:2", "is no int"),
        ("a: 1\nb: !!int 0b2\n", "s.yaml:2", "is no int"),
        ("a: !!bool maybe\n", "s.yaml:1", "is no bool"),
    ],
)
def test_what_no_study_has_is_refused_with_its_line(text: str, where: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse(text, "s.yaml")
    assert str(caught.value.where).startswith(where)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        read_document(str(tmp_path / "none.yaml"))
    (tmp_path / "large.yaml").write_text("#" * (MOST_BYTES + 1))
    with pytest.raises(UsageError, match="too large"):
        read_document(str(tmp_path / "large.yaml"))
    with pytest.raises(UsageError, match="too large"):
        read_document("/dev/zero")  # no more of it is read
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UsageError, match="no text"):
        read_document(str(tmp_path / "binary.yaml"))


def test_set_puts_values_over_the_file() -> None:
    assert value("store=b.zarr")["store"] == "b.zarr"
    assert value("extract.image_size=32")["extract"]["image-size"] == 32
    assert value("extract.view=[pooled, maps]")["extract"]["view"] == ["pooled", "maps"]
    assert value("report.out=here")["report"] == {"out": "here"}
    assert value("backbones.0.weights=random")["backbones"][0] == {"model": "vit.tag_a", "weights": "random"}
    assert value("backbones.vit.tag_a.weights=random")["backbones"][0]["weights"] == "random"
    assert value("analyses.cka.view=pooled")["analyses"][0] == {"cka": {"view": "pooled"}}
    assert value("analyses.0.cka.view=pooled")["analyses"][0] == {"cka": {"view": "pooled"}}
    assert value("analyses.2.resamples=9")["analyses"][2] == {"spectra": {"resamples": 9}}
    assert value("extract.limit=a=b")["extract"]["limit"] == "a=b"


def test_what_was_set_stands_there() -> None:
    document = override(spread(parse(TEXT, "s.yaml")), ["extract={limit: 5}", "store=b"])
    assert document.place(("extract", "limit")) == "--set extract={limit: 5}"
    assert document.place(("store",)) == "--set store=b"
    assert document.place(("backbones", 0)) == "s.yaml:2"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("store", "no KEY=VALUE"),
        ("extract..limit=3", "no KEY=VALUE"),
        ("store.deeper=3", "is a value"),
        ("analyses.spectra.resamples=3", "several items"),
        ("store=[1", "no YAML"),
    ],
)
def test_what_cannot_be_set_is_refused(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        value(given)
    assert "--set" in str(caught.value)


def test_an_item_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        value("analyses.ckaa.view=pooled")
    assert caught.value.did_you_mean == ("cka",)
    with pytest.raises(UnknownNameError, match="item of backbones"):
        value("backbones.7.weights=random")
