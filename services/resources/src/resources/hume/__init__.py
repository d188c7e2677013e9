"""What the voice provider gives beside its catalogue: access tokens."""
