"""Requests of this box to other Matrix servers."""
