"""PyTorch: a plain loop over batches of indices, without a DataLoader's processes."""

from typing import Any

import torch

from seqjax.bench.tasks import (
    BATCH,
    DILATIONS,
    FEATURES,
    HORIZON,
    MILK_DROPOUT,
    MILK_FEATURES,
    TEXT_EMBEDDING,
    TEXT_FEATURES,
    TEXT_VOCABULARY,
    Name,
    Task,
    make_examples,
    prepared,
)
from seqjax.bench.worker import Prepared


class _Recurrent(torch.nn.Module):
    """[N, T, 1] to [N, T, K], or to [N, K] for a model that answers at the last step."""

    def __init__(self, layers: torch.nn.RNNBase, outputs: int, dropout: float, last: bool) -> None:
        super().__init__()
        self.layers, self.last = layers, last
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(layers.hidden_size, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)[0]
        return self.head(self.dropout(y[:, -1] if self.last else y))


class _Text(torch.nn.Module):
    """Tokens [N, T] to logits [N, T, vocabulary]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(TEXT_VOCABULARY, TEXT_EMBEDDING)
        self.layers = torch.nn.LSTM(TEXT_EMBEDDING, TEXT_FEATURES, batch_first=True)
        self.head = torch.nn.Linear(TEXT_FEATURES, TEXT_VOCABULARY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embed(x))[0])


class _WaveNet(torch.nn.Module):
    """[N, T, 1] to [N, T, K]; PyTorch's convolutions want the features before the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(FEATURES if k else 1, FEATURES, 2, dilation=d)
            for k, d in enumerate(DILATIONS)
        )
        self.head = torch.nn.Linear(FEATURES, HORIZON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        for dilation, conv in zip(DILATIONS, self.layers, strict=True):
            x = torch.relu(conv(torch.nn.functional.pad(x, (dilation, 0))))
        return self.head(x.transpose(1, 2))


def training(task: dict[str, Any], threads: int | None = None) -> Prepared:
    """The task on PyTorch, on a GPU where there is one."""
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = Task(**task)
    torch.manual_seed(0)
    parts = make_examples(found)
    (x, y), (x_validation, y_validation) = (
        (torch.from_numpy(part.x).to(device), torch.from_numpy(part.y).to(device)) for part in parts
    )
    model = _model(found.name).to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=found.learning_rate)
    mean_loss = torch.nn.functional.mse_loss
    if found.name == "text":

        def mean_loss(y: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            flat = y.flatten(0, 1), targets.flatten().long()
            return torch.nn.functional.cross_entropy(*flat)

    def train_batch(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        mean_loss(model(x), y).backward()
        optimizer.step()

    def validate() -> float:
        model.eval()
        total = torch.zeros((), device=device)
        with torch.no_grad():
            batches = zip(x_validation.split(BATCH), y_validation.split(BATCH), strict=True)
            for inputs, targets in batches:
                total += len(inputs) * mean_loss(model(inputs), targets)
        return float(total) / len(x_validation)

    def train(epochs: int) -> float:
        validation_loss = float("nan")
        for _ in range(epochs):
            model.train()
            for rows in torch.randperm(len(x), device=device).split(BATCH):
                train_batch(x[rows], y[rows])
            validation_loss = validate()
        return validation_loss

    def step() -> None:
        train_batch(x[:BATCH], y[:BATCH])
        if device.type == "cuda":
            torch.cuda.synchronize()

    return prepared(found, sum(parameter.numel() for parameter in trained), train, step)


def _model(name: Name) -> torch.nn.Module:
    if name == "wavenet":
        model = _WaveNet()
    elif name == "text":
        model = _Text()
    elif name == "milk":
        layers = torch.nn.LSTM(
            1, MILK_FEATURES, num_layers=2, dropout=MILK_DROPOUT, batch_first=True
        )
        model = _Recurrent(layers, 1, MILK_DROPOUT, last=True)
    else:
        kinds = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
        layers = kinds[name](1, FEATURES, num_layers=2, batch_first=True)
        model = _Recurrent(layers, HORIZON, 0.0, last=False)
    for key, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.zeros_(parameter)
        elif "weight_hh" in key:
            torch.nn.init.orthogonal_(parameter)
        else:
            torch.nn.init.xavier_uniform_(parameter)
        if ".bias_ih" in key and name in ("lstm", "milk", "text"):
            with torch.no_grad():
                parameter.view(4, -1)[1] = 1.0  # of the forget gate, as the others begin
        if ".bias_hh" in key and name != "gru":
            parameter.requires_grad_(False)  # of PyTorch's two biases one is enough
    return model
