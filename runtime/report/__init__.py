"""What a run came to: statistics, a page, JSON, a summary; plain values in, text out."""
