"""Entries of a list in a JSON file, one at a time, against the whole file at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.json_items import json_items

ENTRIES = [1, -2.5e3, 'a"]},\u00e9\n', None, True, [], {}, {"scenes": [1, [2]]}, [[{"x": "}"}]]]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_entries_are_those_of_the_whole_file(tmp_path: Path, indent: int | None, ascii_only: bool) -> None:
    path = tmp_path / "a.json"
    content = {"info": {"scenes": [0]}, "scenes": ENTRIES, "more": [1, {"y": 2}]}
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert list(json_items(path, "scenes", 10_000)) == json.loads(path.read_text(encoding="utf-8"))["scenes"]


@pytest.mark.parametrize("text", ['{"scenes": []}', '\ufeff { "scenes" : [ ] } ', '{"scenes":[],"a":1}'])
def test_an_empty_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert list(json_items(tmp_path / "a.json", "scenes", 100)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends early"),
        ("[]", "expected '{', found '\\['"),
        ("{}", "there is no 'scenes' in it"),
        ('{"scene": [1]}', "there is no 'scenes' in it"),
        ('{"scenes": [1], "scenes": [2]}', "more than one 'scenes'"),
        ('{"scenes": {"a": 1}}', "expected '\\['"),
        ('{"scenes": [1, 2', "ends early"),
        ('{"scenes": [1, 2]', "ends early"),
        ('{"scenes": [1, 2]} x', "more follows"),
        ('{"scenes": [1 2]}', "expected ','"),
        ('{"scenes": [1,]}', "Expecting value"),
        ('{"scenes": [1], }', "Expecting value"),
        ("{1: [1]}", "is no key"),
        ('{"scenes": [NaN]}', "NaN is no number"),
        ('{"scenes": [-Infinity]}', "-Infinity is no number"),
        ('{"scenes": [' + "[" * 100_000 + "]}", "damaged"),
        ('{"scenes": [' + "1" * 10_000 + "]}", "damaged"),
        ("<!DOCTYPE html>", "expected '{'"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(IntegrityError, match=message) as caught:
        list(json_items(path, "scenes", 1_000_000))
    assert str(path) in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"scenes": ["\xff"]}')
    with pytest.raises(IntegrityError, match="damaged"):
        list(json_items(path, "scenes", 100))
    path.write_bytes(b'{"scenes": [1]}')
    with pytest.raises(IntegrityError, match="15 bytes are more"):
        list(json_items(path, "scenes", 14))
    with pytest.raises(DataUnavailableError):
        list(json_items(tmp_path / "absent", "scenes", 100))
