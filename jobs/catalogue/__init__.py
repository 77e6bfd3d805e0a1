"""Data sets and stores as they lie there: list, describe, check, download, tidy."""
