"""The answer to one request: a pipeline from the request as it was received to the last frame."""
