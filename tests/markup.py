"""The HTML that objects show of themselves, and names that a page or a terminal would act on."""

from __future__ import annotations

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Everything of a page that is not text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, tuple(f"{name}={value}" for name, value in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e'\"&<img src=x onerror=alert(2)>"
PLAIN = {"div", "style", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}


def check_markup(page: str) -> None:
    """Refuse a page with other tags than `PLAIN`, with colours, links or scripts, or a large one."""
    tags = Tags()
    tags.feed(page)
    assert {tag for tag, _ in tags.found} <= PLAIN
    attributes = {one for _, own in tags.found for one in own}
    assert attributes <= {"class=cvbench", "class=n", "scope=col"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "http" not in page
    assert len(page) < 30_000
