"""The Matrix server-server API, both directions."""
