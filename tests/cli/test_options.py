"""Every option of every command, with its default: what is typed today means the same tomorrow.

`python -m tests.cli.test_options` writes the list again; a change of it is a line of CHANGELOG.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.test_process import COMMANDS

LIST = Path(__file__).with_name("options.txt")


def offered(param: Any) -> str:
    """One option or argument in one line."""
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    kinds = [kind for kind, it_is in (("required", param.required), ("repeated", _repeated(param))) if it_is]
    kinds += ["switch"] if getattr(param, "is_flag", False) else []
    kinds += [] if least is None and most is None else [f"from {least} to {most}"]
    default = list(param.default) if isinstance(param.default, list | tuple) else param.default
    names = sorted([*param.opts, *param.secondary_opts], key=lambda name: (-len(name), name))
    variable = f" ${param.envvar}" if param.envvar else ""
    return f"{' '.join(names)}{variable} = {default!r}{''.join(f', {kind}' for kind in kinds)}"


def _repeated(param: Any) -> bool:
    return bool(getattr(param, "multiple", False)) or param.nargs == -1


def lines() -> list[str]:
    """All options of all commands, sorted."""
    return sorted(
        f"{' '.join(words)} {offered(param)}" for words, command in COMMANDS.items() for param in command.params
    )


def test_the_commands_offer_what_they_offered() -> None:
    assert lines() == LIST.read_text().splitlines()


if __name__ == "__main__":
    LIST.write_text("\n".join(lines()) + "\n")
