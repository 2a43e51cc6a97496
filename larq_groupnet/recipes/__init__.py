"""How a network is trained: recipes, phases, and what a user changes in them."""
