"""What the normalized-cuts examples share: scenes, features, segmentation, monitor, pictures."""
