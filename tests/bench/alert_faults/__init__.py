"""The real fault of every shipped alert, provoked in running systems with a real Prometheus beside."""
