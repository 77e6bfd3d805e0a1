"""What features are worth on other data: linear probes and fine-tuning."""
