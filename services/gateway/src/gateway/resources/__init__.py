"""Resources and active sets over HTTP."""
