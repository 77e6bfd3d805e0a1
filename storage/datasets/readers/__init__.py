"""One file a data set: its tree, its splits, its classes."""
