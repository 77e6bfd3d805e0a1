"""Partials and results, and layers as files for other tools."""
