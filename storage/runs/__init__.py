"""The logs of runs in a store: what they did, how fast, what failed. No result depends on them."""
