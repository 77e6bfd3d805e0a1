"""The analyses of stored features, one module each; `measure` runs them unit by unit."""
