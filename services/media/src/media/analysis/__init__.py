"""Analysis of files: shots, pictures, faces, sound, and what is alike. All of it runs in worker processes."""
