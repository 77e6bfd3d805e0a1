"""A stand-in for a CUDA device: CuPy's and torch's faces over the host's memory, for machines without a card.

`cupy_api` answers `import cupy` and refuses what CuPy refuses; `torch_cuda` lets torch's tensors pretend to lie on
`cuda:0`; `counters` counts what a card would be asked to do. `plug.plugged` puts all three in place for a `with` block.
"""
