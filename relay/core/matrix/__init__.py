"""Matrix rules: events, canonical JSON, signing, authorization, room versions, state resolution."""
