"""Means, intervals, tests and verdicts, of images, of classes and of pairs of backbones."""
