"""What upstreams send, read into values of our own: the one place that knows how differently servers put it."""
