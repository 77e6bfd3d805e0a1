"""Backbones and their taps, views, preprocessing and weights, and the device they run on."""
