"""From an event's bytes to its place in a room: checks, authorization, merges of states, events of our own."""
