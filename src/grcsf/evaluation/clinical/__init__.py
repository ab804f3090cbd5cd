"""Clinical measures of a mask: calcium on CT (Agatston, volume, mass, orCaScore) and stroke (load, side, territory)."""
