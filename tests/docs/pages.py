"""README and the pages of docs/ as the tests read them: their blocks of code, and which of these run.

A fenced block behind `<!-- run -->` is run as it stands, in the order of its page, in a folder of the page's own:
commands line by line, Python in one namespace. One behind `<!-- run: NAME -->` is written to the file NAME. All other
commands of cvbench are run between these, with small data sets and networks (`tests.docs.small`, which names the few
that are not run at all). All commands are parsed, and all other Python is compiled.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(
    r"^(?P<mark><!-- run[^\n]*\n)?```(?P<language>[\w{.}]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- run(?:: (?P<file>[\w./-]+))? -->\n")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its file, below the root.
        line: Of its first line of code, from 1.
        language: "sh", "python", "yaml", "toml", "{.python}" of a file that is put in, or "".
        code: Its text.
        runs: Whether it is marked to be run.
        file: The file that it is written to; "": none.
    """

    page: str
    line: int
    language: str
    code: str
    runs: bool
    file: str

    def commands(self) -> list[str]:
        """Each command of a shell block: continued lines joined, comments taken off."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := without_comment(line))]


def without_comment(line: str) -> str:
    """A shell line without its comment: `#` at the start of a word, outside quotes.

    >>> without_comment("cvbench datasets ls   # all")
    'cvbench datasets ls'
    >>> without_comment("cvbench extract --dataset 'a #b'")
    "cvbench extract --dataset 'a #b'"
    """
    return shlex.join(shlex.split(line, comments=True))


def pages() -> list[Path]:
    """README and every page."""
    return [README, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text, name, found = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)), []
    for match in _BLOCK.finditer(text):
        mark = _MARK.fullmatch(match["mark"] or "")
        assert mark or not match["mark"], f"{name}: {match['mark'].strip()} is no mark"
        line = text.count("\n", 0, match.start("code")) + 1
        file = (mark["file"] or "") if mark else ""
        found.append(Block(name, line, match["language"], match["code"], mark is not None, file))
    assert text.count("<!-- run") == sum(block.runs for block in found), f"{name}: a mark stands before no block"
    return found


def blocks() -> list[Block]:
    """Of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def commands_of(block: Block) -> list[str]:
    """Every `cvbench ...` that a block shows."""
    return [one for one in block.commands() if one.startswith("cvbench ")] if block.language == "sh" else []


def commands() -> list[tuple[str, str]]:
    """(page:line, command) of every `cvbench ...` that is shown."""
    return [(f"{block.page}:{block.line}", command) for block in blocks() for command in commands_of(block)]
