"""A long time under load, cancellations and attack: does the proxy hold the same memory, files and tasks at its end?"""
