"""HTTP/1.1 and HTTP/2 without I/O: bytes in, events out. One interface (`events.Wire`), two machines, both roles."""
