"""`cvbench doctor`: what is installed here, and what could be in the way."""

from __future__ import annotations

from dataclasses import asdict

import typer

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.jobs.catalogue.doctor import DoctorOptions


def _doctor(options: DoctorOptions, printed: shared.Printed) -> None:
    """Say what is installed, and what could be in the way here.

    Exit code 0 if nothing is; 8 of a cluster that does not answer or whose dashboard is open to all, else that of the
    problem.
    """
    from cvbench.jobs.catalogue.doctor import doctor as examine
    from cvbench.jobs.catalogue.doctor import exit_code

    found = examine(options)
    code = exit_code(found)
    if printed.format == "json":
        shared.echo_json({"schema_version": 1, "ok": code == 0, "checks": [asdict(check) for check in found]})
    else:
        for check in found:
            state = check.state if check.state != "problem" else "PROBLEM"
            shared.say_wrapped(f"{state:7}  {check.name:8}  ", check.said)
            if check.fix:
                shared.say_wrapped(f"{'':19}", f"fix: {check.fix}")
    if code:
        raise typer.Exit(code)


doctor = command("doctor", [DoctorOptions, shared.Printed], _doctor)
