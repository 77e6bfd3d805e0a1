"""Claims of one's own: a file in the form of the published ones, and what is said of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.claims.published import FILE_BYTES, published, read_claims, read_file
from cvbench.jobs.report.claims import own_claims

PAPER = '[[paper]]\nsource = "S"\nfamily = "f"\n'
CLAIM = '[[paper.claim]]\nid = "mine"\nsentence = "A."\nplace = "Fig. 1"\nanalysis = "cka"\nmetric = "m"\n'


def test_a_claim_has_the_fields_of_its_file_and_defaults_else() -> None:
    text = f'{PAPER}{CLAIM}direction = -1\nsmallest = 1\ndatasets = ["a", "b"]\n'
    assert read_claims(text, "x.toml") == (
        Claim("mine", "A.", "S", "Fig. 1", "f", "cka", "m", datasets=("a", "b"), direction=-1, smallest=1.0),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[paper", "this is not TOML"),
        ("", r"there is no table \[\[paper\]\]"),
        ("paper = 3", r"there is no table \[\[paper\]\]"),
        (PAPER, r"there is no table \[\[claim\]\]"),
        (PAPER + CLAIM + "direction = 0\n", "direction: .*1 or -1"),
        (PAPER + CLAIM + 'smallest = "much"\n', "smallest: .*number"),
        (PAPER + CLAIM + 'datasets = "a"\n', "datasets: "),
        (PAPER + CLAIM + 'contrast = "other"\n', "contrast: "),
        (PAPER + CLAIM.replace('metric = "m"', 'metric = ""'), "needs a metric"),
        (PAPER + CLAIM.replace('place = "Fig. 1"\n', ""), "lacks place"),
        (CLAIM.replace("[[paper.claim]]", "[[paper]]\n[[paper.claim]]"), "lacks source, family"),
        (PAPER + CLAIM + CLAIM, "two claims have the id 'mine'"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_claims(text, "x.toml")
    assert str(caught.value.where).startswith("x.toml")


def test_an_unknown_field_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        read_claims(f'{PAPER}{CLAIM}metrik = "m"\n', "x.toml")
    assert caught.value.did_you_mean == ("metric",)
    assert caught.value.where == "x.toml, claim 'mine'"


def test_files_are_read_beside_the_published_claims(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(PAPER + CLAIM)
    assert [claim.id for claim in own_claims([str(path)])] == ["mine"]
    path.write_text(PAPER + CLAIM.replace("mine", published()[0].id))
    with pytest.raises(UsageError, match=r"already in published\.toml"):
        own_claims([str(path)])


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (FILE_BYTES + 1), None], ids=["bytes", "long", "absent"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_file(str(path))
    assert caught.value.where == str(path)
