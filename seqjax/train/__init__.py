"""Training: one loop over a loss function, an Optax transformation, batches, and any seeds."""

from seqjax.train.batches import Batches as Batches, array_batches as array_batches
from seqjax.train.buckets import (
    Buckets as Buckets,
    bucketed_batches as bucketed_batches,
    length_buckets as length_buckets,
)
from seqjax.train.checkpoints import (
    CheckpointError as CheckpointError,
    Checkpoints as Checkpoints,
)
from seqjax.train.job import EarlyStopping as EarlyStopping, Fit as Fit
from seqjax.train.logs import MetricsLog as MetricsLog, Progress as Progress
from seqjax.train.loop import (
    evaluate as evaluate,
    evaluate_metrics as evaluate_metrics,
    fit as fit,
    fit_seeds as fit_seeds,
)
from seqjax.train.losses import Loss as Loss, Losses as Losses
from seqjax.train.mesh import data_mesh as data_mesh
from seqjax.train.optimizers import cosine_adamw as cosine_adamw, tunable as tunable
from seqjax.train.options import Callback as Callback, Options as Options
from seqjax.train.running import with_running_statistics as with_running_statistics
from seqjax.train.steps import TrainState as TrainState
from seqjax.train.stopping import (
    TrainingStopped as TrainingStopped,
    listen_for_stop as listen_for_stop,
    stop_requested as stop_requested,
)
from seqjax.train.streams import (
    Stream as Stream,
    iterator_stream as iterator_stream,
    stream as stream,
)
from seqjax.train.tensorboard import TensorBoard as TensorBoard
