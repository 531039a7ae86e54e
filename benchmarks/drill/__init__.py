"""`make drill`: attacks and benign callers against proxies in front of real models, and the tables of the README."""
