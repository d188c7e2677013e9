"""The stand-in of an OpenAI-compatible provider."""
