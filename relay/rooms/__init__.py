"""Room graphs and their one writer."""
