"""Rooms as the ledger holds them: events, states, members, and the commit that writes them."""
