"""References generated from the declarations: schemas, AsyncAPI, topics, settings, metrics."""
