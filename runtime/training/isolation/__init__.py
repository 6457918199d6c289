"""The ways to run a training method: one module each."""
