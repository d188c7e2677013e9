"""Makes and measures media: speech, video, expressions, as jobs."""
