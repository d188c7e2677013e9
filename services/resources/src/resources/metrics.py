"""Metrics of resources."""

from prometheus_client import Counter

RESOURCE_WRITES = Counter("sonant_resource_writes_total", "Writes that were committed, by command.", ["type"])
RESOURCE_REFUSALS = Counter("sonant_resource_refusals_total", "Questions and commands refused, by code.", ["code"])
