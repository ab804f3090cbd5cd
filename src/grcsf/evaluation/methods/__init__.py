"""Several methods or scorings of the same cases: intervals, paired tests, seeds, agreement."""
