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
    evaluate as evaluate,
    fit as fit,
)
from seqjax.train.mesh import data_mesh as data_mesh
from seqjax.train.running import with_running_statistics as with_running_statistics
from seqjax.train.seeds import fit_seeds as fit_seeds
from seqjax.train.steps import Loss as Loss, TrainState as TrainState
from seqjax.train.stopping import (
    TrainingStopped as TrainingStopped,
    listen_for_stop as listen_for_stop,
    stop_requested as stop_requested,
)
