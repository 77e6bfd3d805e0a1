"""`cvbench claims`: what papers say of convolutional networks and transformers, judged by the results of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.report.claims import ClaimLine, JudgedClaims


def _claims(place: shared.StorePlace, own: shared.OwnClaims, printed: shared.Printed) -> None:
    """Judge what papers claim by the results of a store.

    A claim holds, does not hold, is not resolved, or is not run: then the command that makes its numbers is named. The
    store is only read. `cvbench report` shows the same at the head of its page.
    """
    from cvbench.jobs.report.claims import judge_store

    judged = judge_store(place.store, own.claims)
    if printed.format == "json":
        shared.echo_json(judged.as_dict())
    else:
        _echo(judged)


def _echo(judged: JudgedClaims) -> None:
    """Print a few lines for each claim: a table of whole sentences would not fit a terminal."""
    from cvbench.jobs.claims.judge import RULE
    from cvbench.jobs.report.claims import claim_lines

    lines = claim_lines(judged.outcomes, {})
    for line in lines:
        if line.run:
            say(_numbers(line))
            say()
    absent = [line for line in lines if not line.run]
    if absent:
        say("not run:")
    for line in absent:
        say(f"  {line.sentence} ({line.source})")
        say(f"    {line.reason}{f': {line.command}' if line.command else ''}")
    say(RULE)
    if judged.unknown:
        say(f"backbones {judged.unknown}")


def _numbers(line: ClaimLine) -> str:
    why = f" ({line.reason})" if line.reason else ""
    value = f"; it gives {line.published}" if line.published else ""
    interval = f" [{line.interval}]" if line.interval else ""
    return "\n".join(
        [
            f"{line.verdict}{why}: {line.sentence}",
            f"  {line.subject}, {line.where}",
            f"  {line.metric} {line.value}{interval}, p {line.p or 'none'}, claimed {line.expected}",
            f"  source: {line.source}{value}",
        ]
    )


claims = command("claims", [shared.StorePlace, shared.OwnClaims, shared.Printed], _claims)
