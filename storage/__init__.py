"""What stays: data sets, the feature store, its ledger, results. No torch, no Ray."""
