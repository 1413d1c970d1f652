"""Sealed flash: journal, index, keyring, media files. It seals bytes and keeps tables; it knows no protocol."""
