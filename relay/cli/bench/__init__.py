"""`relay bench`: the figures of the README, measured from outside as a user would, a Synapse beside it if given."""
