"""Interactive forms of the figures: Vega-Lite charts made with altair, and galleries of maps; one module a family."""
