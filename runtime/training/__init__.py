"""Training beside trading: minutes, jobs, queue, isolation, model slots, readiness."""
