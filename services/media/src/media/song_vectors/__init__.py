"""Vectors of songs: how they are made, and the index of them in a process of its own."""
