"""What a track of music is like: tempo, key, loudness, and a descriptor of its sound. Runs in worker processes."""
