"""Residual sums: how much each branch of a network adds to its skip connection (Raghu et al. 2021)."""
