"""README and docs promise only options, exit codes, files and folders that exist; README stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cvbench import errors
from tests.docs.pages import ROOT, blocks_of, pages
from tests.docs.test_commands import find, known_options

PAGES = [str(page.relative_to(ROOT)) for page in pages()]
DOCUMENTS = [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md"]
OUTPUT = ROOT / "docs/reference/output.md"


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next of its level."""
    level = heading.partition(" ")[0]
    found = page.read_text().partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]
    assert found, f"{page.name} has no {heading!r}"
    return found


def test_names_that_stay_are_options_of_extract() -> None:
    named = set(re.findall(r"^\| `(--[a-z-]+)`", section(OUTPUT, "## Options"), flags=re.MULTILINE))
    promised = "dataset backbone store weights taps view maps limit batch-size precision device data-root"
    assert {f"--{name}" for name in promised.split()} <= named
    assert named <= known_options(find(["extract"]))


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", section(OUTPUT, "## Exit codes"), flags=re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.CvbenchError)]
    assert listed == {cls.exit_code for cls in classes} | {0, 130, 143}


def test_columns_are_those_of_a_row() -> None:
    from dataclasses import fields

    from cvbench.jobs.results.row import Row

    table = section(OUTPUT, "## One table")
    listed = [
        name for row in re.findall(r"^\| (`.+?`) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(listed) == sorted(field.name for field in fields(Row))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_and_folders_exist(document: str) -> None:
    page = ROOT / document
    named = re.findall(r"`([\w./-]+(?:\.(?:md|py|yaml|toml|txt|ipynb)|/))`", page.read_text())
    written = {block.file for block in blocks_of(page)} if document in PAGES else set()
    assert [name for name in named if not (ROOT / name).exists() and name not in written] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if "://" not in link and not (ROOT / link).is_file()] == []


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 250
    assert all(path.stat().st_size < 150_000 for path in (ROOT / "docs/images").iterdir())


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, "Makefile", "mkdocs.yml", "cluster.yaml", "constraints.txt", "pyproject.toml"]
)
def test_no_home_folder_of_anyone_is_named(document: str) -> None:
    assert re.findall(r"(?<![\w~$}])/(?:home|root|Users|work)/\S*", (ROOT / document).read_text()) == []


def test_the_table_of_coverage_is_that_of_the_benchmarks() -> None:
    head = "| area (least covered setting) |"
    rows = {}
    for document in ("docs/numbers.md", "bench/README.md"):
        table = (ROOT / document).read_text().partition(head)[2].partition("\n\n")[0].splitlines()[2:]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
        rows[document] = {line[0]: line[-1] for line in cells}
    shown, measured = rows["docs/numbers.md"], rows["bench/README.md"]
    assert len(shown) > 5
    assert shown.items() <= measured.items()
