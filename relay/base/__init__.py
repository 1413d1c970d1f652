"""What every room may use: ids, errors, config, clock, log, limits, lines. A closed list; imports nothing else."""
