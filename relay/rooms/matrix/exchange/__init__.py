"""Room graphs between servers: what they push and ask, what is fetched from them to fill gaps."""
