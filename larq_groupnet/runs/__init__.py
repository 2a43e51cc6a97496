"""The folder of a run: its snapshots, and finding and loading its weights."""
