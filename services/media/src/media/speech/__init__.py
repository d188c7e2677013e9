"""Speech: texts spoken by the voices of providers."""
