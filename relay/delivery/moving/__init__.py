"""A person moves to another box: what they take along, and how they arrive."""
