"""Membership words and their stored numbers."""

JOIN, INVITE, LEAVE, BAN, KNOCK = 1, 2, 3, 4, 5

NUMBERS = {"join": JOIN, "invite": INVITE, "leave": LEAVE, "ban": BAN, "knock": KNOCK}
WORDS = {number: word for word, number in NUMBERS.items()}
