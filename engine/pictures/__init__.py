"""From the bytes of an image to pixels: decoding, transforms, geometry, and boxes on them."""
