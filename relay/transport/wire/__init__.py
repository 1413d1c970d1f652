"""The HTTP machines without I/O: bytes in, events out; the same events for both versions."""
