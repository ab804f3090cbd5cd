"""Training of the segmentation network: losses, lesion-balanced batches, augmentation, the fitted model."""
