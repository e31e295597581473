"""One file for each contestant of the benchmark of training.

Each has ``training(task) -> Prepared`` and imports its library. All train with Adam on
the mean squared error, in batches of 32 in a new order every epoch, and validate after
every epoch.
"""
