"""`scenes`: objects of ten classes in scenes with named factors, drawn from integer seeds; nothing to download.

    draws, angles       integers from a seed; sines of whole degrees, without a library's random numbers or functions
    factors, scene      the names of all that varies; one picture as plain numbers
    rule                seed -> scene: how often which value occurs
    distances, placed   signed distances to polygons, ellipses and lines; where the objects stand
    parts, objects,     the parts that each class and sub-class is made of
      birds
    paints, textures,   what colours and covers them, and what lies behind
      grounds
    styles              renditions: negative, neon, mosaic, ...; and outlines
    render              scene -> pixels, mask and bounding box
    samples             what a data set of scenes is
    shifts, grid, cues, the data sets
      species, tasks, varied
    hard                the seeds of `scenes-a`
    columns             what sample tables say of scenes

The pixels of a scene are the same on every machine: they are made of sums, products, quotients, square roots and
roundings of float32 numbers, element by element, each of which IEEE 754 defines to the last bit.
"""
