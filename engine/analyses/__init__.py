"""The analyses: each measures units of samples into partials, and summarises these into a result."""
