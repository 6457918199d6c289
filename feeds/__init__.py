"""What the outside world says, as typed events. Knows nothing of the runtime."""
