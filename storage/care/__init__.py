"""Whether a store is what its ledger says, and a way back from damage."""
