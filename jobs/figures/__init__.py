"""The figures of results, one module per analysis; `base` holds what they share."""
