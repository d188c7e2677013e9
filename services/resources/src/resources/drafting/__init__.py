"""Tools that a model drafts: asked for, judged, kept in quarantine, promoted or disabled."""
