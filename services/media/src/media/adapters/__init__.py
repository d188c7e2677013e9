"""What media runs on."""
