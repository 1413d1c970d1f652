"""The version of this software, as peers and people see it."""

VERSION = "0.1.0"
