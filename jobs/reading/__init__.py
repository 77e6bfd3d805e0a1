"""What a job reads of a store: which layers and rows, whose samples, and what stands behind them."""
