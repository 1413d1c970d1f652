"""The ledger as the doors see it: they run steps made of `rooms`, `household` and `delivery` functions only."""

from relay.store.ledger import Change, Index, Ledger

__all__ = ["Change", "Index", "Ledger"]
