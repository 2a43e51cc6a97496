"""Trained networks on images of any size, from files to files."""
