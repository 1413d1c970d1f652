"""A second box: the journal's commits follow, sealed, to storage elsewhere, from which another box can be made."""
