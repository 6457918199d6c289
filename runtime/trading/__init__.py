"""Orders, money, and the checks between a strategy and a broker."""
