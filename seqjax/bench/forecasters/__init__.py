"""Children of ``seqjax.bench forecast``, each run as a script by a Python of its own.

``python ours.py REQUEST.json``: fit, forecast, write the answer. `neural` runs where seqjax is not
installed, so they share no module; see `seqjax.bench.forecasting` for request and answer.
"""
