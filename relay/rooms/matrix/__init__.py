"""Matrix rooms: graph, state groups, timelines, membership, inboxes for events with missing ancestors."""
