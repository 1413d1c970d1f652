"""Card images as people write them: built, looked into, started on emulated boards, set up, started again."""
