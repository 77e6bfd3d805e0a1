"""The root of the command line: groups, exit codes, and how errors look."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

from cvbench import __version__
from cvbench.cli import streams
from cvbench.cli.commands import Place, on_demand
from cvbench.cli.complain import complain, interrupted, wants_json
from cvbench.cli.say import say
from cvbench.errors import CvbenchError, UsageError, lacking

COMMANDS: dict[str, Place] = {
    "run": ("cvbench.cli.study", "run", "Run a study: all that its file names, only what is missing."),
    "reproduce": (
        "cvbench.cli.study",
        "reproduce",
        "Reproduce the reference study, at a scale.",
    ),
    "status": (
        "cvbench.cli.study",
        "status",
        "Say what of a study is done, missing, and what failed last.",
    ),
    "config": ("cvbench.cli.study", "config", "Study files: an example, and the schema of their keys."),
    "extract": ("cvbench.cli.extract", "extract", "Stream data sets through backbones and keep layerwise features."),
    "plan": ("cvbench.cli.extract", "plan", "Say bytes, hours and the bottleneck of an extraction."),
    "report": (
        "cvbench.cli.report",
        "report",
        "Write all results as an HTML page, figures and one table.",
    ),
    "claims": ("cvbench.cli.claims", "claims", "Judge what papers claim by the results of a store."),
    "analyze": ("cvbench.cli.analyze", "app", "Compute results from a feature store."),
    "eval": ("cvbench.cli.evaluate", "app", "Benchmarks, computed from stored logits."),
    "transfer": ("cvbench.cli.transfer", "app", "Linear probes and fine-tuning."),
    "results": ("cvbench.cli.results", "app", "List, show, compare and remove results."),
    "store": (
        "cvbench.cli.store",
        "app",
        "Look into a feature store, check, tidy, export or empty it.",
    ),
    "doctor": ("cvbench.cli.doctor", "doctor", "Say what is installed, and what could be in the way here."),
    "runs": ("cvbench.cli.runs", "app", "Runs on a store: what they did, and what failed."),
    "cluster": ("cvbench.cli.cluster", "app", "Look at a cluster; plan a run on one."),
    "datasets": ("cvbench.cli.datasets", "app", "List, describe, check and download data sets."),
    "models": ("cvbench.cli.models", "app", "List and describe the backbones that there are."),
}
"""Command -> where it is built, and its line in the help."""


WIDEST = 100
"""Columns of the help on a wider terminal: longer lines are hard to read."""

app = typer.Typer(
    name="cvbench",
    cls=on_demand(COMMANDS),
    help="How do two vision backbones differ inside? Layerwise features of whole data sets, on Ray, in Zarr.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would double the start-up time
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": WIDEST,
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
RESUME_HINT = "interrupted; everything committed is kept, the same command goes on from there"


def _version(value: bool) -> None:
    if value:
        say(f"cvbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Exit codes: 0 done (or nothing to do), 2 usage, 3 data unavailable, 4 integrity, 5 incomplete, 6 resources,
    8 cluster, 130 interrupted, 143 terminated."""
    context.ensure_object(dict)["verbose"] = verbose


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    signals = _Signals()
    signals.listen()
    # Before torch starts its threads, here or in Ray's workers: by default they spin for milliseconds after each of
    # its operations, on the cores that kernels, decoders and other processes want.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    streams.guard()
    sys.exit(signals.code(_run(signals)))


def _run(signals: _Signals) -> int:
    command = typer.main.get_command(app)
    settings: dict[str, Any] = {}
    as_json = wants_json(sys.argv[1:])
    try:
        result = command.main(standalone_mode=False, obj=settings)
        if not result:
            streams.check()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(signals, as_json)
    except Exception as error:
        caused = signals.caused(error)
        trace = traceback.format_exc().rstrip("\n") if settings.get("verbose") else ""
        if caused:
            if trace:
                say(trace, err=True)
            return _interrupted(signals, as_json)
        error = lacking(error) or error
        if isinstance(error, CvbenchError):
            complain(error, error.exit_code, as_json=as_json, trace=trace)
            return error.exit_code
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        return _misused(error, as_json)
    if result == 130:  # typer turns an interrupt into this code, and says nothing
        return _interrupted(signals, as_json)
    return int(result or 0)


def _misused(error: Any, as_json: bool) -> int:
    """Say what the parser of the command line refuses; its exit code."""
    context = error.ctx.command_path if getattr(error, "ctx", None) else None
    if as_json:
        complain(UsageError(error.format_message(), where=context), error.exit_code, as_json=True)
    else:
        error.show()
    return int(error.exit_code)


class _Signals:
    """Handlers of SIGTERM and interrupts: the first unwinds all, so that Ray is shut down; the third ends the process.

    Both raise `KeyboardInterrupt`: Ray's waiting, in C, knows no other exception and would lose one of our own.
    """

    def __init__(self) -> None:
        self._count = 0
        self._code = 130

    def listen(self) -> None:
        """Take the signals, but for an interrupt that who started us has us ignore."""
        signal.signal(signal.SIGTERM, self._take)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._take)

    def code(self, code: int) -> int:
        """The exit code, where `code` says that the process was interrupted: that of the first signal."""
        return self._code if code == 130 else code

    def caused(self, error: BaseException) -> bool:
        """Whether `error` came while a signal's interrupt unwound all: it may come between any two instructions, where
        what tidies up can fail for it."""
        seen: BaseException | None = error
        while self._count and seen is not None:
            if isinstance(seen, KeyboardInterrupt):
                return True
            seen = seen.__cause__ or seen.__context__
        return False

    def _take(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count == 1:
            self._code = 143 if number == signal.SIGTERM else 130
            raise KeyboardInterrupt
        if self._count > 2:
            os.write(2, f"cvbench: {RESUME_HINT}\n".encode())
            os._exit(self._code)


def _interrupted(signals: _Signals, as_json: bool) -> int:
    """Say how to go on; a further signal, while Python shuts down, changes the exit code no more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    interrupted(RESUME_HINT, signals.code(130), as_json=as_json)
    return 130
