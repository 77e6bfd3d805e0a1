"""What the command line needs of `storage.texts`."""

from cvbench.storage.texts import csv_cell, printable

__all__ = ["csv_cell", "printable"]
