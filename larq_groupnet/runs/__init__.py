"""The folder of a run: its snapshots, and how its weights are found and loaded."""
