"""Self-attention of transformers: how far the heads look, how evenly, and how much of it goes to the prefix tokens.

kernel.py   queries and keys -> the numbers of every head, block by block
together.py the same, and what the heads mix, from one softmax
capture.py  the queries and keys of a network while it runs, whatever attention kernel it uses
result.py   means over images with intervals
"""
