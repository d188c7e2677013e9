"""The steps of an analysis, each with its version: another version finds other things in the same file."""
