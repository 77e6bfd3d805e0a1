"""Class activation maps: where in the image the evidence for a class lies, and numbers that describe such a map.

target.py    the layer whose activation is weighted, and which layers cannot be one
graph.py     activation and gradient at that layer, with a graph that begins there
methods.py   the formulas: activation and gradient -> raw map
attended.py  maps of transformers, made of the attention of all their layers
grids.py     two maps on one grid; a map as it is displayed
measures.py  what is measured on one map
boxed.py     what is measured on one map and a bounding box
faithful.py, faithfulness.py      deletion and insertion along a map
randomised.py, randomisation.py   a map beside that of a network whose parameters are shuffled
summary.py   means with intervals, and paired differences of backbones
"""
