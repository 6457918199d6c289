"""What a strategy author types."""
