"""One array namespace for NumPy and CuPy, threads, and the kernels that several analyses share."""
