"""Linear probes: how well do frozen features separate the classes of a data set? Arrays in, numbers out."""
