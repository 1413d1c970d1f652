"""Pure rules: no Trio, no clock, no disk, no randomness of its own. Values in, decisions out."""
