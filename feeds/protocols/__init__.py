"""One venue each: bytes in, events and bytes out, no socket."""
