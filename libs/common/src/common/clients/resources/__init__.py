"""Active sets and resource versions as any process reads them: one shared cache, filled by the service resources."""
