"""One outbox for each destination: what waits, who is tried when, and how it leaves the house."""
