"""t-SNE maps and how far they can be believed: measure, backends, means and result."""
