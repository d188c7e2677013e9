"""Active sets: what is switched on for a user, a project or the organisation, and what was."""
