"""Expression measurement: what faces and voices express, asked of providers in their order, as one result."""
