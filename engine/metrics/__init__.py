"""Evaluation metrics: arrays in, numbers with intervals out. NumPy only; no files, no store."""
