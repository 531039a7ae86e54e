"""`tensorwall callers`: what a running proxy knows of its callers, and decisions about them."""
