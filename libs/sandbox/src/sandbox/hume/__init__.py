"""The Hume stand-in: versioned prompts, tools and configs, voices, access tokens and webhooks."""
