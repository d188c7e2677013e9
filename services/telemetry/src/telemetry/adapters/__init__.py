"""Where telemetry meets the outside."""
