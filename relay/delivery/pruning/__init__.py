"""Making room: what may go, because everybody has it, and what goes, by policy and when space runs short."""
