"""Fuzzing: whatever reads bytes of others is fed mutated ones, and nothing may crash, hang or swell.

    make fuzz                                              # 100,000 inputs a target
    python -m tests.fuzz --inputs 5000 --target wire       # one target, fewer
    python -m tests.fuzz --target wire --replay FILE       # one input, with its traceback

`target` says what is fuzzed and how it is judged, `mutate` and `messages` make inputs, `driver` runs them.
A run begins with the inputs in `corpus/`: each that ever broke something is kept there, under its target's name.
"""
