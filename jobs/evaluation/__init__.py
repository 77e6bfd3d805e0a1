"""Benchmarks as analyses of the stored `logits`: one module each; `shared` reads the logits, `table` holds the rows."""
