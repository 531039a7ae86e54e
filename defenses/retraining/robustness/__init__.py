"""How well a model withstands attacks: what is attacked, the attacks, and signs that a result is not to be believed."""
