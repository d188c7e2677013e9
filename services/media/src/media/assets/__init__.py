"""Files of organisations: bytes in the object store, a row in the database."""
