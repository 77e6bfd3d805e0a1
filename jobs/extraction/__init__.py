"""Images -> backbones -> feature store: options, plan, workers, and analyses while it runs."""
