"""Tasks: all that differs between classification and segmentation, and the losses of both."""
