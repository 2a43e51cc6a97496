"""The paper: blocks, wirings, heads and layouts, and what they cost."""
