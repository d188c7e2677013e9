"""Songs over HTTP: added, imported, found, listed, forgotten, and their map."""
