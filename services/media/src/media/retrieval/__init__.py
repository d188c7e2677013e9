"""Texts as they are searched: read out of files, cut into chunks, turned into terms and vectors, scored."""
