"""What runs on a device: backbones, taps, images, views, kernels, analyses. Arrays in, arrays out; no files, no Ray."""
