"""Scores of predicted masks against reference masks, of any method; numpy and scipy only."""
