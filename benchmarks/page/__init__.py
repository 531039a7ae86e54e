"""The page under load, and its pictures."""
