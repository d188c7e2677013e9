"""Expression measurement: what faces and voices express, from files, as one normalised result."""
