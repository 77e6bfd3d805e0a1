"""Layerwise CKA: the measure, its HSIC kernel, the exact forms, and the result."""
