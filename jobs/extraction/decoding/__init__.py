"""From samples to batches of images, ahead of whoever computes: by threads, or by processes beside a fast device."""
