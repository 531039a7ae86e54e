"""Wire-compatible definitions of the messages that TensorFlow Serving speaks, under our own proto package."""
