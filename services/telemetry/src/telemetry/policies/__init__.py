"""What is to be kept: policies and prices, retention, and the deletion of users."""
