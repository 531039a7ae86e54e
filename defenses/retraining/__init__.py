"""Adversarial retraining: from a job to a hardened, judged, published model. It meets the proxy through files alone.

job.py         what job.yaml says (with sources.py and recipes.py); no TensorFlow
data.py        rows from arrays, TFRecord, a factory
model.py       a Keras model as logits, and back to what it was
attacks.py     FGSM and PGD
bounds.py      interval bounds, certified accuracy; crown.py has tighter ones
methods/       the losses, one file each
sampling.py    which rows a step has
privacy.py     DP-SGD, and what it has spent
loop.py        the steps, under tf.distribute
checkpoint.py  what a killed run goes on from
run.py         all of it, once: `run(job)` gives a `Trained`
robustness/    what is attacked, the ensemble of attacks, signs of masked gradients
evaluation.py  a model's accuracies, with intervals.py and confidence.py
gates.py       candidate against the served model
signatures.py  what a SavedModel promises; export.py keeps it, warmup.py and card.py go with it
publish.py     the next version folder, by one rename
report.py      all of it for readers
schedule.py    when a run is due, and that one succeeded
deployment.py  what the proxy's side does for it
conclude.py    from a candidate to its publication
"""
