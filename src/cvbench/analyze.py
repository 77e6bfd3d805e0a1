"""The analyses: one function for each command of `cvbench analyze`, those of plugins too.

Each takes the options of its command by the names of Python, and is made when it is asked for.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Make the function of this name."""
    from cvbench.api.entries import function

    return function("analyze", name)


def __dir__() -> list[str]:
    from cvbench.api.entries import names

    return names("analyze")
