"""Media over HTTP: jobs, and what they make."""
