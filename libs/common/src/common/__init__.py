"""What every Sonant service shares: events, bus, kernel and storage."""
