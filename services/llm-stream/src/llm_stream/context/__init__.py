"""The context: what of a conversation fits the window of its model, counted in tokens before anybody is asked."""
