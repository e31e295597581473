import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models, nn
from seqjax.forecast import Forecaster

STEPS = 6
X = np.random.default_rng(0).normal(size=(7, STEPS, 2)).astype(np.float32)


def drawn(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(0.5 * random.normal(size=a.shape), a.dtype), shapes)


MODELS = {
    "last": models.make("lstm", inputs=2, features=(4,), outputs=3, last=True),
    "stack": models.from_layer(
        nn.Stack(
            (
                nn.CausalConv(3, 2, activation="relu"),
                nn.RNN(3, layer_norm=True),
                nn.GRU(3),
                nn.GRU(3),  # in one loop with the one below
                nn.MinGRU(3),
                nn.Dense(1),
            )
        ),
        inputs=2,
    ),
    "wavenet": models.from_layer(nn.WaveNet(1, dilations=(2,), residual_features=3), inputs=2),
    "lru": models.from_layer(
        nn.Stack((nn.Dense(3), nn.Residual(nn.LRU(3, state=4), 3), nn.Dense(1))), inputs=2
    ),
}

PROBE = """
import sys, json, pathlib
import jax, jax.numpy as jnp, numpy as np
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
worst = {}
for file in sorted(folder.glob("*.jax")):
    forecaster = jax.export.deserialize(file.read_bytes())
    assert str(forecaster.in_avals) == "(ShapedArray(float32[batch,6,2]),)", forecaster.in_avals
    expected = np.load(file.with_suffix(".npy"))
    for batch in (1, 3, 7) if file.stem == "last" else (3,):
        y = jax.jit(forecaster.call)(x[:batch])
        assert y.shape == (batch, *expected.shape[1:])
        worst[file.stem] = float(np.abs(y - expected[:batch]).max())
assert not {name.partition(".")[0] for name in sys.modules} & {"seqjax", "flax", "optax"}
print(json.dumps(worst))
"""


def test_an_exported_forecaster_runs_where_this_package_is_not(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for name, model in MODELS.items():
        params = drawn(model)
        io.export_model(tmp_path / f"{name}.jax", model, params, steps=STEPS, inputs=2)
        np.save(tmp_path / f"{name}.npy", jax.jit(model.apply)(params, X))
    command = [sys.executable, "-c", PROBE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    worst = json.loads(done.stdout)
    assert set(worst) == set(MODELS)
    assert max(worst.values()) < 1e-5


def test_a_function_with_all_around_the_model_is_exported_for_many_platforms(tmp_path):
    model = models.make("rnn", inputs=1, features=(3,), outputs=1)
    params = drawn(model)
    mean = np.float32(100)

    def forecast(params, x):
        return mean + models.generate(model, params, x - mean, 3)

    exported = io.export_model(
        tmp_path / "f.jax", forecast, params, steps=4, inputs=1, platforms=("cpu", "cuda", "tpu")
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    again = jax.export.deserialize((tmp_path / "f.jax").read_bytes())
    x = jnp.asarray(mean + X[:2, :4, :1])
    np.testing.assert_allclose(again.call(x), forecast(params, x), atol=1e-4)
    assert again.call(x).shape == (2, 3, 1)


def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch):
    def forecast(params, x):
        return x

    with pytest.raises(ValueError, match=r"inputs \(0\)"):
        io.export_model(tmp_path / "f", forecast, (), steps=1, inputs=0)
    for other in (Forecaster("gru", horizon=3), nn.GRU(3)):
        with pytest.raises(TypeError, match=r"not (Forecaster|GRU)\. .* Forecaster\.save"):
            io.export_model.__wrapped__(tmp_path / "f", other, (), steps=1, inputs=1)
    with pytest.raises(TypeError, match=r"not Forecaster\. .* Forecaster\.save"):
        io.save_model.__wrapped__(tmp_path / "f", Forecaster("gru", horizon=3), ())
    with pytest.raises(FileNotFoundError, match="folder"):
        io.export_model(tmp_path / "none" / "f", forecast, (), steps=1, inputs=1)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"\[export\]"):
        io.export_model(tmp_path / "f", forecast, (), steps=1, inputs=1)
    assert not list(tmp_path.iterdir())


def test_a_classifier_of_sentences_with_their_lengths(tmp_path):
    model = models.classifier("gru", inputs=nn.Tokens(9), classes=3, features=(4,), pool="both")
    params = drawn(model)
    tokens = np.array([[3, 1, 4, 0, 0, 0], [1, 5, 8, 2, 6, 5], [7, 0, 0, 0, 0, 0]], np.int32)

    def answer(params, tokens):
        return model.apply(params, tokens, seq_lengths=(tokens > 0).sum(axis=1))

    path = tmp_path / "classifier.jax"
    io.export_model(path, answer, params, steps=STEPS, inputs=nn.Tokens(9))
    read = jax.export.deserialize(path.read_bytes())
    assert read.in_avals[0].str_short() == "int32[batch,6]"
    expected = answer(params, jnp.asarray(tokens))
    np.testing.assert_allclose(jax.jit(read.call)(tokens), expected, atol=1e-6)
    alone = model.apply(params, jnp.asarray(tokens[2:, :1]))
    np.testing.assert_allclose(expected[2:], alone, atol=1e-6)
