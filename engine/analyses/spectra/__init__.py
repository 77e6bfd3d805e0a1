"""Fourier spectra of feature maps: the measure, its kernel, and the result."""
