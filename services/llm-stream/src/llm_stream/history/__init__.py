"""What a session remembers: its turns, what was really said in them, and what the next one is asked with."""
