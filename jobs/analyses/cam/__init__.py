"""Class activation maps: kept as a view, measured, and shown."""
