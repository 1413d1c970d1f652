"""Doorstep: a family's own messaging provider. The README has the map of the house."""
