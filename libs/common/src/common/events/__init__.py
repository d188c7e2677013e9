"""What travels: every event, declared once."""
