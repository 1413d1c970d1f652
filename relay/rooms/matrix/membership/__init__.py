"""Joining, inviting and leaving: people here in rooms elsewhere, people elsewhere in rooms here."""
