"""Records of MATLAB v5 files, against scipy; and files that are damaged, at which scipy ends the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats import matrecords
from cvbench.storage.datasets.formats.matarray import load_integers
from cvbench.storage.datasets.formats.matrecords import load_records
from tests.seeds import seeded
from tests.storage.datasets.test_matarray import element, header, packed, variable

FIELDS = ("number", "name", "words", "children")


def records(n: int = 5) -> NDArray[Any]:
    found = np.empty((n, 1), dtype=[(field, object) for field in FIELDS])
    for i in range(n):
        found[i, 0] = (i + 1, f"n{i:08d}", "" if i == 1 else "h\u00fchner, \u9d8f", np.array([1.0, 2.0]))
    return found


def written(path: Path, compressed: bool = False, n: int = 5) -> bytes:
    savemat(path, {"before": np.arange(3), "synsets": records(n), "after": "text"}, do_compression=compressed)
    return path.read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n", [1, 5])
def test_agrees_with_scipy(tmp_path: Path, compressed: bool, n: int) -> None:
    written(tmp_path / "a.mat", compressed, n)
    found = load_records(tmp_path / "a.mat", "synsets", ("number", "name", "words"))
    theirs = loadmat(tmp_path / "a.mat", squeeze_me=True)["synsets"]
    assert len(found) == n
    for own, other in zip(found, np.atleast_1d(theirs).tolist(), strict=True):
        assert own["number"] == other[0]
        assert own["name"] == other[1]
        assert own["words"] == (other[2] if len(other[2]) else "")


def test_a_field_that_is_no_number_and_no_text_is_none(tmp_path: Path) -> None:
    written(tmp_path / "a.mat")
    assert [one["children"] for one in load_records(tmp_path / "a.mat", "synsets", ("children",))] == [None] * 5


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("other", FIELDS, "there is no 'other' in it"),
        ("before", FIELDS, "before is no list of records"),
        ("after", FIELDS, "after is no list of records"),
        ("synsets", ("number", "gloss"), "no field 'gloss': it has number, name, words, children"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, name: str, fields: tuple[str, ...], message: str) -> None:
    written(tmp_path / "a.mat")
    with pytest.raises(IntegrityError, match=message) as caught:
        load_records(tmp_path / "a.mat", name, fields)
    assert "a.mat" in str(caught.value)
    with pytest.raises(DataUnavailableError, match="cannot read"):
        load_records(tmp_path / "b.mat", name, fields)


def structure(count: int, fields: bytes, width: int, content: bytes) -> bytes:
    """A structure written by hand, of (count, 1) records."""
    made = variable("synsets", (count, 1), 5, b"", cls=2)
    at = made.index(b"synsets") + 8  # where the first element behind the name begins
    body = made[8:at] + b"\5\0\4\0" + width.to_bytes(4, "little") + element(1, fields) + content
    return element(14, body)


def number(value: float) -> bytes:
    return variable("", (1, 1), 9, np.float64(value).tobytes(), cls=6)


def test_a_structure_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(header() + structure(2, b"ab\0\0", 4, number(1.5) + number(-3)))
    assert load_records(path, "synsets", ("ab",)) == [{"ab": 1.5}, {"ab": -3.0}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (structure(3, b"ab\0\0", 4, number(1.5)), "damaged"),
        (structure(1, b"ab\0\0", 3, number(1.5)), "names of fields"),
        (structure(1, b"ab\0\0", 0, number(1.5)), "names of fields"),
        (structure(1, b"a\0" * 65, 2, number(1.5)), "names of fields"),
        (structure(1, b"ab\0\0", 4, element(9, bytes(8))), "a field of type 9"),
        (structure(1, b"ab\0\0", 4, variable("", (1, 1), 14, bytes(8), cls=6)), "damaged"),
        (structure(1, b"ab\0\0", 4, variable("", (1, 1), 99, bytes(8), cls=6)), "damaged"),
        (structure(1, b"ab\0\0", 4, variable("", (1, 1), 9, bytes(8), cls=4)), "letters of type 9"),
        (structure(-1, b"ab\0\0", 4, b""), "no list of records"),
        (structure(100_001, b"ab\0\0", 4, b""), "no list of records"),
        (packed(structure(1, b"ab\0\0", 4, variable("", (1, 1 << 20), 2, bytes(1 << 20)))), "larger than any list"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(header() + content)
    with pytest.raises(IntegrityError, match=message):
        load_records(path, "synsets", ("ab",))


def test_many_fields_that_are_not_read_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrecords, "MAX_BYTES", 1_000)
    written(tmp_path / "a.mat")
    with pytest.raises(IntegrityError, match="larger than any list"):
        load_records(tmp_path / "a.mat", "synsets", ("number",))


@pytest.mark.parametrize("mutants", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_whatever_the_bytes_are_only_errors_of_ours_come_out(tmp_path: Path, mutants: int) -> None:
    """One in twenty of these ends the process in scipy."""
    path, rng = tmp_path / "a.mat", seeded(3)
    whole = written(path)
    known = load_records(path, "synsets", FIELDS)
    words = [bytes(4), b"\xff" * 4, b"\x0e\0\0\0", b"\0\0\0\x80", b"\4\0\0\0", b"\1\0\4\0"]
    refused = 0
    for _ in range(mutants):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(124, len(data) - 8))
            how = int(rng.integers(3))
            if how == 0:
                data[at] = int(rng.integers(256))
            elif how == 1:
                data[at - at % 4 : at - at % 4 + 4] = words[int(rng.integers(len(words)))]
            else:
                del data[at : at + int(rng.integers(1, 9))]
        path.write_bytes(data)
        for read in (lambda: load_records(path, "synsets", FIELDS), lambda: load_integers(path, "before")):
            try:
                read()
            except CvbenchError:
                refused += 1
    assert refused > mutants / 10
    path.write_bytes(whole)
    assert load_records(path, "synsets", FIELDS) == known
