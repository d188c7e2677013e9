"""Assets over HTTP: uploads, downloads in parts, links that expire."""
