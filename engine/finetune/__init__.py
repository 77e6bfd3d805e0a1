"""Fine-tuning a backbone on the labels of a data set. Tensors in, tensors out; no files, no ray."""
