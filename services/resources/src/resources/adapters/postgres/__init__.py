"""The tables of resources in PostgreSQL: all SQL of the service."""
