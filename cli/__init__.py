"""The `cvbench` command: parses options, calls one job, prints its result; nothing heavy is imported before that."""

from cvbench.cli.app import app, main

__all__ = ["app", "main"]
