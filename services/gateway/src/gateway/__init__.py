"""The HTTP front door: publishes requests onto the log and writes the replies."""
