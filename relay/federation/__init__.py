"""The doors other servers use."""
