"""Analyses that run the images of a data set through the backbones once more, and keep a few numbers of each image.

What is kept is a view of the store, such as `attention`: planned, computed and committed unit by unit like any other,
so that an interrupted run goes on, and more images cost only themselves.

numbers.py  what such an analysis is
worker.py   what one actor does with one unit
job.py      plans the units and declares the view
tables.py   reads the numbers back, unit by unit
"""
