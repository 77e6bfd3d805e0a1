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
            _say_numbers(line)
            say()
    absent = [line for line in lines if not line.run]
    if absent:
        say("not run:")
    for line in absent:
        shared.say_folded(f"{line.sentence} ({line.source})", "  ")
        if line.command:
            shared.say_command(line.command, "    ", f"{line.reason}:")
        else:
            shared.say_folded(line.reason, "    ")
    shared.say_folded(RULE)
    if judged.unknown:
        shared.say_folded(f"backbones {judged.unknown}")


def _say_numbers(line: ClaimLine) -> None:
    why = f" ({line.reason})" if line.reason else ""
    value = f"; it gives {line.published}" if line.published else ""
    interval = f" [{line.interval}]" if line.interval else ""
    shared.say_folded(f"{line.verdict}{why}: {line.sentence}")
    for text in (
        f"{line.subject}, {line.where}",
        f"{line.metric} {line.value}{interval}, p {line.p or 'none'}, claimed {line.expected}",
        f"source: {line.source}{value}",
    ):
        shared.say_folded(text, "  ")


claims = command("claims", [shared.StorePlace, shared.OwnClaims, shared.Printed], _claims)
