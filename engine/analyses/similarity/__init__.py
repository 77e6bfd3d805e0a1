"""Similarity between the local features of an image: measure, kernel and result."""
