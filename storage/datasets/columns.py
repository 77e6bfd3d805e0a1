"""What the columns of a table are, said in a spec: `table:birds.csv@label=species,path=file`.

Behind the last `@` stand pairs ROLE=COLUMN; `label=` alone says that no column is it. In a column's name `,`, `+`, `@`
and `%` are written as in a URL: %2C, %2B, %40, %25. `--columns label=species,path=file` of a command does the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from cvbench.errors import UnknownNameError, UsageError
from cvbench.storage.datasets.variant import split_transform, suffix

_TAIL = re.compile(r"(?P<path>.*[^/])@(?P<pairs>[a-z_]+=[^@]*)", re.DOTALL)
_CODED = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%,+@"})


def split_columns(argument: str) -> tuple[str, str]:
    """The path of an argument, and its pairs with the `@` before them; "" if it has none.

    >>> split_columns("/data/birds.csv@label=species"), split_columns("s3://a@b/c.csv")
    (('/data/birds.csv', '@label=species'), ('s3://a@b/c.csv', ''))
    """
    found = _TAIL.fullmatch(argument)
    return (found["path"], f"@{found['pairs']}") if found else (argument, "")


def read_columns(pairs: str, roles: Sequence[str], where: str) -> dict[str, str]:
    """Role -> column, "" for none.

    Args:
        pairs: As `split_columns` gives them.
        roles: Those that there are.
        where: The spec, for messages.

    Raises:
        UnknownNameError: There is no such role.
        UsageError: A role twice, or no pair.
    """
    found: dict[str, str] = {}
    for pair in filter(None, pairs.removeprefix("@").split(",")):
        role, is_pair, column = pair.partition("=")
        if not is_pair:
            raise UsageError(f"{pair!r} is no pair ROLE=COLUMN", where=where, fix="--columns label=species,path=file")
        if role not in roles:
            raise UnknownNameError.among("role of a column", role, roles, fix=f"roles: {', '.join(roles)}")
        if role in found:
            raise UsageError(f"the role {role} is given twice", where=where)
        found[role] = unquote(column)
    return found


def pairs_text(columns: Mapping[str, str]) -> str:
    """The pairs as they stand in a spec.

    >>> pairs_text({"label": "a,b", "path": "file"})
    '@label=a%2Cb,path=file'
    """
    return "@" + ",".join(f"{role}={column.translate(_CODED)}" for role, column in columns.items()) if columns else ""


def with_columns(spec: str, columns: str | None) -> str:
    """The spec with what `--columns` says; any transform stays behind it.

    Raises:
        UsageError: The spec says it already.

    >>> with_columns("table:birds.csv+scale=2", "label=species")
    'table:birds.csv@label=species+scale=2'
    """
    if not columns:
        return spec
    base, transform = split_transform(spec)
    if split_columns(base)[1]:
        raise UsageError("the columns are named twice", where=spec, fix="in the data set's name or by --columns")
    return f"{base}@{columns}{suffix(transform)}"
