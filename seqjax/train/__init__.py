"""Training: a loop over a loss function, an Optax transformation and batches."""

from seqjax.train.batches import Batches as Batches, array_batches as array_batches
from seqjax.train.checkpoints import (
    CheckpointError as CheckpointError,
    Checkpoints as Checkpoints,
)
from seqjax.train.logs import MetricsLog as MetricsLog, Progress as Progress
from seqjax.train.loop import (
    EarlyStopping as EarlyStopping,
    Fit as Fit,
    TrainState as TrainState,
    evaluate as evaluate,
    fit as fit,
)
