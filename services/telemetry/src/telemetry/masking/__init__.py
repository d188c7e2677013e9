"""Masking: secrets and persons are taken out before anything is stored."""
