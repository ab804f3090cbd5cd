"""The U-shaped network, its Global and Region Compensation Units, and their wiring."""
