"""Songs: added, imported from catalogues, found by what they are like, and shown on a map."""
