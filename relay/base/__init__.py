"""What every room may use: ids, errors, config, clock, log, limits. A closed list; imports nothing of the house."""
