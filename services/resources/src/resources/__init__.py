"""Resources: versioned prompts, configs, tools and voices, and which of them are active."""
