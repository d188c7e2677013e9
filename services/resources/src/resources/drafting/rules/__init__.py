"""What a drafted tool must be like: its name, its texts, its schema, and the arguments made for it."""
