"""What the defenses are worth: real attacks against a real model behind a running proxy, the failures included.

`suite` lists the defenses, `scale` says how much is measured, `run` is the order of things, `report` writes it down.
Evasion: `transferred` (FGSM, PGD), `queries` (Square, HopSkipJump), `adaptive` (BPDA and EOT). Secrets: `membership`,
`surrogate`. Needs the extras `attacks` and `images`.
"""
