"""How a service runs; services do not see past it."""
