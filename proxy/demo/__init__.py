"""`tensorwall demo`: a real model on real data behind the proxy, told as it happens.

`data` finds images, `model` trains on them once, `children` keeps the servers' processes on a leash, `story` is the
list of scenes. Needs the extra `demo`; nothing here is on the proxy's serving path.
"""
