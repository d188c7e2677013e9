"""Long work: jobs that survive the death of whoever does them, and never pay a provider twice."""
