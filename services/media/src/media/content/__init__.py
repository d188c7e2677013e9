"""Content analysis: the job, its steps, what is kept of it, and what is asked about it."""
