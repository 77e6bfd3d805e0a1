"""Docstrings of classes and functions begin with a verb or a noun, read from the source of every file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("api", "cli", "engine", "jobs", "src/cvbench", "storage")

# A clause or a section in place of a summary: "What a key names", "Of n rows", "Attributes: ...".
INDIRECT = re.compile(r"(What|Where|When|Which|Who|How|Of|As|The same)\b|(Args|Attributes|Raises|Returns|Yields):")


def docstring_faults(text: str) -> list[str]:
    """`line: name: summary` of each class and function in a source whose docstring begins with a clause or a section.

    >>> docstring_faults('class Key:\\n    "What a key names."')
    ['1: Key: What a key names.']
    """
    return [
        f"{node.lineno}: {node.name}: {found.splitlines()[0]}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if (found := ast.get_docstring(node)) and INDIRECT.match(found)
    ]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    read = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    faults = [f"{path.relative_to(ROOT)}:{fault}" for path in read for fault in docstring_faults(path.read_text())]
    assert len(read) > 100, "the folders are not where the test looks for them"
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("summary", "refused"),
    [
        ("What a key names.", True),
        ("Of n rows.", True),
        ("As `fit`, with a transform.", True),
        ("The same as an array.", True),
        ("Attributes:", True),
        ("The object that a key names.", False),
        ("Whether it is there.", False),
        ("Write the rows.", False),
        ("Assert that it is there.", False),
        ("Offsets of the rows.", False),
    ],
)
def test_the_reader_sees_a_clause_in_place_of_a_summary(summary: str, refused: bool) -> None:
    for head in ("class A", "def a()", "async def a()"):
        assert bool(docstring_faults(f'{head}:\n    """{summary}"""')) == refused
        assert bool(docstring_faults(f'class B:\n    {head}:\n        """\n        {summary}\n        """')) == refused
