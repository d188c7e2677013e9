"""Interactions: opened, masked and made into rows; stored once, and found again."""
