"""Chat: requests published on the log, answers written to clients as they come."""
