"""Adversarial retraining: from a job to a hardened Keras model. It meets the proxy through files alone.

job.py        what job.yaml says (with sources.py and recipes.py); no TensorFlow
data.py       rows from arrays, TFRecord, a factory
model.py      a Keras model as logits, and back to what it was
attacks.py    FGSM and PGD
bounds.py     interval bounds, certified accuracy
methods/      the losses, one file each
loop.py       the steps, under tf.distribute
checkpoint.py what a killed run goes on from
run.py        all of it, once: `run(job)` gives a `Trained`
"""
