"""Effective receptive fields: how far around a position the input changes it (Luo et al. 2016).

gradient.py  the gradient of one position of each tap with respect to the input, and its numbers
result.py    means over images with intervals
"""
