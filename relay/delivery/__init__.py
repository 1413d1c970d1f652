"""What joins rooms and people: outboxes, retries, catch-up, fan-out, the answer of a sync, media."""
