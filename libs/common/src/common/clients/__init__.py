"""What services use of one another: the resources that a conversation runs on."""
