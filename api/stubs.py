"""Type stubs of the functions that are made from options: what editors, mypy and the documentation read.

`python -m cvbench.api.stubs` writes them anew, `ruff format` lays them out; a test compares them with the options.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from pathlib import Path

import cvbench
from cvbench.api.calls import Call
from cvbench.api.entries import GROUPS, call_of, names
from cvbench.api.extraction import call_of as extraction
from cvbench.jobs.registry import ENTRIES

_HEAD = "# Made by `python -m cvbench.api.stubs` from the options of the commands: change those.\n"
_SHORT = {"collections.abc.": "", "cvbench.api.stores.": "", "cvbench.api.result.": "", "cvbench.api.extraction.": ""}
_ROOT = vars(cvbench)
_PLUGINS = '''
def __getattr__(name: str) -> Callable[..., Result]:
    """The analysis of a package that is installed beside cvbench."""
'''


def stub(call: Call) -> str:
    """The function of a call as a stub has it, with its docstring."""
    signature = call.signature
    parts, keyword = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keyword:
            keyword = True
            parts.append("*")
        default = "" if one.default is one.empty else f" = {one.default!r}"
        parts.append(f"{one.name}: {_annotation(one.annotation)}{default}")
    returns = _annotation(signature.return_annotation)
    lines = ",\n    ".join(parts)
    doc = textwrap.indent(f'"""{call.doc}"""', "    ").replace("\n\n\n", "\n\n")
    return f"def {call.name}(\n    {lines},\n) -> {returns}:\n{doc}\n"


def _annotation(kind: object) -> str:
    text = inspect.formatannotation(kind)
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    return text


def stub_of(module: str) -> str:
    """The stub of "analyze", "evaluate" or "transfer"; without plugins, which differ from place to place."""
    own = [name for name in names(module) if module != "analyze" or name.replace("_", "-") in ENTRIES]
    functions = [stub(call_of(module, name)) for name in own]
    plugins = [_PLUGINS] if module == "analyze" else []
    calling = "from collections.abc import Callable, Sequence" if plugins else "from collections.abc import Sequence"
    literal = "from typing import Literal\n" if any("Literal[" in one for one in functions) else ""
    imports = f"import os\n{calling}\n{literal}\nfrom cvbench.api.result import Result\n"
    return _joined([_HEAD + imports + "from cvbench.api.stores import Store\n", *functions, *plugins])


def root_stub() -> str:
    """The stub of `cvbench` itself."""
    imports = ["import os", "from collections.abc import Sequence", "from typing import Literal", ""]
    imports += [f"from cvbench import {name} as {name}" for name in _ROOT["_MODULES"]]
    places = sorted((place, name) for name, place in _ROOT["_PLACES"].items())
    imports += [f"from cvbench.api.{place} import {name} as {name}" for place, name in places]
    functions = [stub(extraction(name)) for name in _ROOT["_MADE"]]
    return _joined([_HEAD + "\n".join(imports) + "\n", "__version__: str\n__all__: list[str]\n", *functions])


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def stubs() -> dict[str, str]:
    """File below `cvbench` -> its text."""
    return {"__init__.pyi": root_stub(), **{f"{module}.pyi": stub_of(module) for module in GROUPS}}


def main() -> None:
    """Write the stubs beside their modules."""
    folder = Path(cvbench.__file__).parent
    for name, text in stubs().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
