"""Whether intervals cover: laws with a known truth, drawn again and again. `bench/coverage.py` runs them at length."""
