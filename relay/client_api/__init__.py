"""The Matrix client-server API: the door of the family's apps."""
