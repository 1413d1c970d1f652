"""Board hardware as Linux shows it: each interface a small class with a verified fake."""
