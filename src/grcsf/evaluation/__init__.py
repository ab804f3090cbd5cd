"""Scores of predicted masks against reference masks, of any method; no torch."""
