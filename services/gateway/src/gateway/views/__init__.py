"""HTTP views, one module per domain noun."""
