"""Masked autoencoders: patches, visible sets, the network and its pre-training."""
