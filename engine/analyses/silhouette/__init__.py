"""Silhouette of the classes: measure, kernel, companions, pairs and result."""
