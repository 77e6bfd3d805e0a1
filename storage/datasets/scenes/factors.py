"""The names of all that varies in a scene; a scene keeps positions in these tuples.

A class has a usual texture, colour and background: those at its own position. So shape and surroundings are both
cues, as in photographs, and can be set against each other.
"""

from __future__ import annotations

CLASSES = ("bird", "boat", "butterfly", "car", "cup", "fish", "flower", "house", "mushroom", "tree")
"""The ten kinds of objects, sorted."""

SUBCLASSES = (
    ("plain bird", "crested bird"),
    ("sailing boat", "steam boat"),
    ("round-winged butterfly", "tailed butterfly"),
    ("saloon car", "lorry"),
    ("tea cup", "mug"),
    ("fork-tailed fish", "fan-tailed fish"),
    ("daisy", "tulip"),
    ("cottage", "tower house"),
    ("capped mushroom", "pointed mushroom"),
    ("leaf tree", "fir tree"),
)
"""Two of each class."""

TEXTURES = ("stripes", "planks", "rings", "grid", "zigzag", "scales", "dots", "bricks", "speckles", "checks")
COLOURS = ("blue", "brown", "orange", "grey", "teal", "yellow", "pink", "red", "purple", "green")
BACKGROUNDS = ("sky", "sea", "wallpaper", "road", "table", "reef", "meadow", "hills", "forest", "snow")
PLAIN = len(BACKGROUNDS)
"""The position of a background that is none: pale grey."""

LIGHTS = ("even", "from the left", "from the right", "from above", "dim", "bright")

SMALLER, USUAL_SIZE, LARGER = (360, 480), (660, 820), (880, 960)
"""Ranges of the edge of an object's frame, in thousandths of the image's edge."""

USUAL_ANGLE = 10
"""Degrees to either side within which an object usually stands."""
