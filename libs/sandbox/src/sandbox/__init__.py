"""Wire-faithful local stand-ins of the providers Sonant talks to."""
