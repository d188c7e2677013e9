"""The creator: a film of a prompt, by speech, video and analysis put together."""
