"""The people at home: accounts, devices, sessions, keys, profiles, account data, invitations."""
