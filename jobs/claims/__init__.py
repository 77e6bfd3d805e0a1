"""What papers say of convolutional networks and transformers, and whether the rows of a store bear it out."""
