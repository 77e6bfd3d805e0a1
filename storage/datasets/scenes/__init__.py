"""`scenes`: pictures of ten kinds of objects in scenes with named factors, drawn from integer seeds; nothing to download.

    draws, angles       integers from a seed; sines of whole degrees, without a library's random numbers or functions
    factors, scene      the names of all that varies; one picture as plain numbers
    rule                seed -> scene: how often which value occurs
    distances           signed distances to polygons, ellipses, lines and rings
    objects, birds      the parts that each class and sub-class is made of
    textures, grounds   what covers an object, and what lies behind it
    styles              renditions: negative, neon, mosaic, ...; and outlines
    render, extents     scene -> pixels and mask; scene -> bounding box, without drawing
    sets, hard          which scenes each data set holds

The pixels of a scene are the same on every machine: they are made of sums, products, quotients, square roots and
roundings of float32 numbers, element by element, each of which IEEE 754 defines to the last bit.
"""
