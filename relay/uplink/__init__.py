"""How the world finds this box: its name at home, its ports at the router, its name and certificate outside."""
