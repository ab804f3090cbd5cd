"""What pre-training and training share: batches by step, the Lightning loop, exact resume, budgets."""
