import dataclasses

import jax
import numpy as np
import pytest

from seqjax.bench import tasks, training
from seqjax.bench.report import Figure
from seqjax.bench.trainers import ours
from seqjax.bench.turns import Rounds, Worker, disagreement, take_turns

PARAMETERS = {
    "rnn": 1470,
    "lstm": 5250,
    "gru": 4110,
    "wavenet": 6010,
    "milk": 198_273,
    "text": 359_520,
}


def small(name):
    return dataclasses.asdict(tasks.Task(name, examples=40, validation=10, epochs=2))


def check(prepared, name):
    """First epoch trained, each program runs, and the model is the one in the book."""
    for program in prepared.programs.values():
        program()
    assert prepared.outputs() == {"parameters": np.array([PARAMETERS[name]])}
    assert prepared.facts["parameters"] == PARAMETERS[name]
    assert prepared.facts["first_epoch"] > 0
    assert 0 < prepared.facts["validation_loss"] < (5 if name == "text" else 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    params = jax.eval_shape(ours.make_model(name).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["rnn", "milk", "text"])
def test_ours(name):
    prepared = ours.training(small(name))
    assert set(prepared.programs) == set(training.PROGRAMS)
    check(prepared, name)


def test_ours_with_a_seed_on_every_device():
    prepared = ours.training(small("rnn"), seeds=jax.device_count())
    assert set(prepared.programs) == {"epoch"}
    check(prepared, "rnn")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras():
    from seqjax.bench.trainers import keras

    with jax.numpy_rank_promotion("allow"):  # Keras's own habit
        prepared = keras.training(small("milk"))
        assert set(prepared.programs) == set(training.PROGRAMS)
        check(prepared, "milk")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", PARAMETERS)
def test_keras_parameters(name):
    import keras as library

    from seqjax.bench.trainers import keras

    with jax.numpy_rank_promotion("allow"):
        shape = (12,) if name == "text" else (12, 1)
        model = library.Sequential([library.Input(shape), *keras._layers(name)])
    assert model.count_params() == PARAMETERS[name]


@pytest.mark.torch
@pytest.mark.parametrize("name", PARAMETERS)
def test_torch(name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from seqjax.bench.trainers import torch

    prepared = torch.training(small(name))
    assert set(prepared.programs) == set(training.PROGRAMS)
    check(prepared, name)


def test_examples():
    """The textbook's split of the milk series; series that continue in their targets."""
    part, validation = tasks.make_examples(tasks.TASKS["milk"])
    assert part.x.shape == (111, 12, 1)
    assert validation.y.shape == (13, 1)
    assert (part.x.min(), part.x.max()) == (0, 1)
    np.testing.assert_array_equal(part.x[1:, -1], part.y[:-1])
    part, validation = tasks.make_examples(tasks.Task("rnn", examples=5, validation=3))
    assert part.y.shape == (5, 50, 10)
    assert validation.x.shape == (3, 50, 1)
    np.testing.assert_array_equal(part.x[:, 1:, 0], part.y[:, :-1, 0])


def test_contestants():
    everyone = training.contestants(("keras", "torch"), 2)
    assert [one.name for one in everyone] == ["seqjax", "seqjax, 2 seeds", "keras", "torch"]
    assert [one.name for one in training.contestants((), 1)] == ["seqjax"]
    ours, theirs = ({"parameters": np.array([count])} for count in (5250, 5251))
    for one in everyone:
        assert disagreement(ours, ours, one.tolerance) is None
        assert disagreement(ours, theirs, one.tolerance) is not None


class FakeWorker(Worker):
    """Takes 2 s for each of its programs."""

    def __init__(self, programs):
        self.programs = programs

    def ask(self, **request):
        if request["do"] == "time":
            assert request["program"] in self.programs
            return {"median": 2.0}
        if not self.programs:
            return {"missing": "not installed"}
        np.savez(request["outputs"], parameters=np.array([3]))
        return {"seconds": 1.0, "facts": {}, "programs": self.programs}


@pytest.mark.parametrize("programs", [["epoch"], ["epoch", "step"], []])
def test_a_contestant_is_timed_on_the_programs_it_has(programs):
    """Also where nobody has any."""
    everyone = training.contestants((), 1)
    processes = {"seqjax": FakeWorker(programs)}
    found = take_turns(everyone, processes, {}, training.PROGRAMS, rounds=2, seconds=0.1)
    assert found["seqjax"].seconds == {program: [2.0, 2.0] for program in programs}


def test_epochs_are_shared(monkeypatch):
    """A call trains several epochs of several seeds; a figure is of one."""
    everyone = training.contestants((), 2)
    facts = {"parameters": 1, "first_epoch": 6.0, "validation_loss": 0.5}
    rounds = {
        "seqjax": Rounds({"step": [1.0, 1.0], "epoch": [8.0, 4.0]}, facts=facts),
        "seqjax, 2 seeds": Rounds({"epoch": [8.0, 8.0]}, facts=facts),
    }
    monkeypatch.setattr(training, "take_turns", lambda *_, **__: rounds)
    task = tasks.Task("rnn", epochs=4)
    step, epoch, seeds = training.measure(task, everyone, {}, rounds=2, seconds=0.1)
    assert (step.rounds, step.labels["first_epoch"]) == ([1.0, 1.0], 6.0)
    assert (epoch.rounds, epoch.labels["steps"]) == ([2.0, 1.0], 219)
    assert (seeds.rounds, seeds.labels["first_epoch"]) == ([1.0, 1.0], 3.0)


def test_table():
    facts = {"first_epoch": 3.0, "validation_loss": 0.25}
    labels = {"model": "lstm", **facts}
    figures = [
        Figure("seqjax", labels | {"program": "step"}, [0.001, 0.002]),
        Figure("seqjax", labels | {"program": "epoch"}, [1.0, 2.0]),
        Figure("seqjax, 2 seeds", labels | {"program": "epoch"}, [0.5, 1.0]),
        Figure("keras", labels | {"program": "step"}, [0.003, 0.006]),
        Figure("keras", labels | {"program": "epoch"}, [4.0, 8.0]),
        Figure("torch", {"model": "lstm"}, [], "torch is not installed"),
    ]
    table = training.make_table(figures)
    columns = [list(column.cells) for column in table.columns]
    rows = list(zip(*columns, strict=True))
    name = "LSTM 20-20"
    assert rows == [
        (name, "seqjax", "1.5", "1.00", "1.5", "1.00", "3.00", "0.2500"),
        (name, "seqjax, 2 seeds", "", "", "0.75", "0.50", "3.00", "0.2500"),
        (name, "keras", "4.5", "3.00", "6", "4.00", "3.00", "0.2500"),
        (name, "torch", "torch is not installed", "", "", "", "", ""),
    ]
