"""Parts of telemetry by themselves."""
