"""Maps of what an image holds and its reconstruction does not, and their cache."""
