"""Classification and segmentation: everything in which the two differ."""
