import itertools
import json
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat, wavfile

from experiments import music as experiment, music_chorales as chorales
from experiments.music_bound import bound, surprises
from experiments.music_laws import nade, nats, tied
from experiments.music_models import (
    PARAMETERS,
    RECIPES,
    batches_of,
    drawn,
    loss_of,
    make_model,
)
from experiments.music_pieces import counted, tally
from experiments.music_report import PUBLISHED, rows_of
from experiments.music_rules import ALL_KEYS, RANGES, faults
from experiments.music_tied import keys_of
from seqjax import launch, train
from seqjax.data.midi import read_midi, write_midi
from seqjax.data.music import Music


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "Music.", list(map(str, args)))


def pieces(count, seed=0):
    rng = np.random.default_rng(seed)
    return [chorales.chorale(rng) for _ in range(count)]


def test_the_chorales_keep_to_the_rules_of_voice_leading():
    found = pieces(40)
    lengths = [len(piece) for piece in found]
    assert set(lengths) <= {plan.steps for plan in chorales.PLANS}
    assert len(set(lengths)) > 10
    for piece in found:
        for bass, tenor, alto, soprano in piece:
            assert bass < tenor < alto < soprano
            assert max(soprano - alto, alto - tenor) <= 12
        low, high = piece.min(axis=0), piece.max(axis=0)
        assert all(a <= b and c <= d for (a, d), b, c in zip(RANGES, low, high, strict=True))
        for before, after in itertools.pairwise(piece):
            for one, two in itertools.combinations(range(4), 2):
                if before[one] != after[one] and before[two] != after[two]:
                    intervals = (before[two] - before[one]) % 12, (after[two] - after[one]) % 12
                    assert intervals not in {(7, 7), (0, 0)}
            assert (np.abs(after - before) <= [12, 7, 7, 7]).all()
            assert (after[:-1] <= before[1:]).all()
            assert (before[:-1] <= after[1:]).all()
        # An authentic cadence ends it: dominant and tonic with their roots in the bass.
        tonic = piece[-1][0] % 12
        assert piece[-3][0] % 12 == (tonic + 7) % 12
        assert {(pitch - tonic) % 12 for pitch in piece[-1]} - {7} in ({0, 4}, {0, 3})
        assert {7, 11} <= {(pitch - tonic) % 12 for pitch in piece[-3]} <= {7, 11, 2, 5}
    own = tally(list(map(chorales.roll_of, found)))
    assert own == (100, 0, 0, 100)


def test_a_broken_rule_is_counted():
    start = [48, 55, 64, 72]
    broken = {
        "parallel": [50, 57, 65, 74],  # the fifths and octaves of bass, tenor and soprano
        "overlap": [48, 53, 74, 77],
        "leap": [48, 55, 64, 80],
    }
    for name, chord in broken.items():
        found = faults(np.array(start), np.array(chord))
        assert getattr(found, name)
    assert not any(faults(np.array(start), np.array([53, 57, 65, 72])))


def test_what_follows_a_chord_is_a_distribution():
    seen = 0
    for piece in pieces(3):
        for key, slot, frame in itertools.product(ALL_KEYS, ("weak", "close"), piece[5:12:3]):
            chords, shares = chorales.successors(key, slot, tuple(frame.tolist()))
            if len(chords):  # else no chord of the key
                seen += 1
                np.testing.assert_allclose(shares.sum(), 1)
                assert shares.min() > 0
    assert seen > 20


def test_the_bounds_are_the_law_of_the_next_chord():
    piece = pieces(2)[1][:7]
    follow = {
        tuple(chord)
        for key in ALL_KEYS
        for slot in ("strong", "weak", "dominant", "close", "held", "last dominant", "last close")
        for chord in chorales.successors(key, slot, tuple(piece[-1].tolist()))[0].tolist()
    }
    rolls = [chorales.roll_of(np.vstack([piece, chord])) for chord in follow]
    with np.errstate(divide="ignore", invalid="ignore"):
        joint, independent = np.array([[one[-1] for one in surprises(roll)] for roll in rolls]).T
    shares = np.exp(-joint)
    np.testing.assert_allclose(shares.sum(), 1)  # over all that may follow
    each = shares @ np.array([roll[-1] for roll in rolls], float)  # of the keys
    some = (each > 1e-12) & (each < 1 - 1e-12)
    entropy = -(each * np.log(each, where=some, out=np.zeros(88)))
    entropy -= (1 - each) * np.log(1 - each, where=some, out=np.zeros(88))
    possible = shares > 0
    np.testing.assert_allclose(shares[possible] @ independent[possible], entropy.sum())
    assert bound(rolls[:1]).joint < bound(rolls[:1]).independent


def test_every_network_with_weights_for_each_key_has_equally_many():
    for name, recipe in RECIPES.items():
        params = jax.eval_shape(make_model(recipe).init, jax.random.key(0))
        params = params["network"] if recipe.nade else params
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        if recipe.tied:
            assert count < PARAMETERS / 2
        elif recipe.kind == "model":
            assert abs(count / PARAMETERS - 1) < 0.06, name


@pytest.mark.parametrize("which", ["nade", "tied"])
def test_a_law_is_a_distribution_and_is_drawn_from(which):
    rng = np.random.default_rng(0)
    free = np.array([3, 20, 21, 70])  # only these keys ever sound
    law, size = (nade(), 88 + 32) if which == "nade" else (tied(2, 80, 1, nade=True), 80)
    own = {
        name: jnp.asarray(rng.normal(0, 2, leaf.shape), jnp.float32)
        for name, leaf in law.init(jax.random.key(0)).items()
    }
    y = np.full(size, -1e4, np.float32)
    if which == "nade":
        y[free], y[88:] = rng.normal(0, 1, 4), rng.normal(0, 1, 32)
    else:  # relu(-1e4) is 0, and the bias alone is left: nothing but the free keys sounds
        own |= {"bias": jnp.array(-20.0), "writes": jnp.array([2.0])}
        y[free - 2] = rng.normal(10, 1, 4)
    frames = np.zeros((16, 88), np.float32)
    frames[:, free] = list(itertools.product((0, 1), repeat=4))
    values = nats(law, own, jnp.tile(y, (1, 16, 1)), jnp.asarray(frames)[None])[0]
    shares = np.exp(-np.asarray(values, float))
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-3 if which == "tied" else 1e-5)
    assert (shares > 0.01).sum() >= 4
    count = 20_000
    found = np.asarray(law.draw(own, jax.random.key(1), jnp.tile(y, (count, 1))))
    assert not np.delete(found, free, axis=1).any()
    often = np.bincount(found[:, free].astype(int) @ [8, 4, 2, 1], minlength=16) / count
    np.testing.assert_allclose(often, shares, atol=4 * 0.5 / np.sqrt(count))


def test_moved_music_is_the_same_music_to_networks_that_share_their_weights():
    roll = chorales.roll_of(pieces(1)[0])[None, :6].astype(np.float32)
    low, count = keys_of(roll)
    keys = low, count + 5
    recipe = RECIPES["gru-tied-nade"]
    model, law = make_model(recipe, keys=keys), recipe.law(keys)
    params = model.init(jax.random.key(0))
    apply, step = jax.jit(model.apply), jax.jit(model.step)
    y = {by: apply(params, jnp.roll(roll, by, axis=-1)) for by in (0, 5)}
    each = {by: np.reshape(one, (6, count + 5, -1)) for by, one in y.items()}
    np.testing.assert_allclose(each[5][:, 5:], each[0][:, :-5], atol=1e-5)
    assert np.abs(np.diff(each[0], axis=1)).max() > 0.1
    carry, found = model.initial_carry(1), []
    for frame in jnp.swapaxes(roll, 0, 1):
        carry, one = step(params, carry, frame)
        found.append(one)
    np.testing.assert_allclose(np.stack(found, 1), y[0], atol=1e-5)
    logits = law.logits(params["law"], y[0], jnp.asarray(roll))
    outside = np.delete(np.asarray(logits), np.arange(low, low + count + 5), axis=-1)
    assert (outside == -10).all()


def test_the_figure_is_the_benchmarks_and_padding_does_not_count():
    rolls = [chorales.roll_of(piece)[: 9 + 4 * (k % 2)] for k, piece in enumerate(pieces(5))]
    for name in ("tcn", "gru-nade"):
        model, law = make_model(RECIPES[name]), RECIPES[name].law()
        params = model.init(jax.random.key(0))
        batches = batches_of(rolls, 2, shuffle=False)
        found = train.evaluate_metrics(loss_of(model, law, transpose=5), params, batches)["nll"]
        total = steps = 0
        apply = jax.jit(lambda params, x, model=model: model.apply(params, x))
        longest = max(map(len, rolls))
        for roll in rolls:  # alone; what comes later is not seen
            x = np.zeros((1, longest + 1, 88), np.float32)
            x[0, 1 : len(roll) + 1] = roll
            y = apply(params, x[:, :-1])[:, : len(roll)]
            own = params.get("law", {})
            values = nats(law, own, y, jnp.asarray(roll, jnp.float32)[None])
            total += float(values[0, 1:].sum())
            steps += len(roll) - 1
        np.testing.assert_allclose(found, total / steps, rtol=1e-5)


def test_each_piece_is_moved_as_far_as_its_own_keys_allow():
    lowest = np.array([0, 3, 40])  # of pieces of two keys; the first spans the keyboard
    highest = np.array([87, 5, 85])
    frames = np.zeros((3, 2, 88), np.float32)
    frames[[0, 1, 2], 0, lowest] = frames[[0, 1, 2], 1, highest] = 1
    seen = []
    heard = SimpleNamespace(apply=lambda params, x, key: seen.append(x) or jnp.zeros_like(x))
    batch = {"frames": jnp.asarray(frames), "lengths": jnp.full(3, 2)}
    for number in range(40):
        loss_of(heard, RECIPES["rnn"].law(), transpose=4)({}, batch, jax.random.key(number))
    first = np.stack(seen)[:, :, 1]  # [draws, pieces, keys]: the step before the second
    assert (first.sum(axis=-1) == 1).all()
    moved = first.argmax(axis=-1) - lowest
    assert [set(each) for each in moved.T] == [{0}, set(range(-3, 5)), set(range(-4, 3))]


def test_a_network_that_knows_the_chances_draws_by_them():
    model = make_model(RECIPES["logistic-1"])
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    found = drawn(model, RECIPES["logistic-1"].law(), params, 50, 20)
    assert found.shape == (50, 20, 88)
    assert abs(found.mean() - 0.5) < 4 * 0.5 / np.sqrt(found.size)


def test_counting_is_a_chain_for_each_key():
    rng = np.random.default_rng(0)
    rolls = [(rng.random((60, 88)) < 0.3).astype(np.uint8) for _ in range(4)]
    found = counted(rolls[:3], rolls[3:])
    total = 0.0
    for key in range(88):
        counts = np.ones((2, 2))  # one added to each
        for roll in rolls[:3]:
            for old, new in itertools.pairwise(roll[:, key]):
                counts[old, new] += 1
        shares = counts / counts.sum(axis=1, keepdims=True)
        total -= sum(np.log(shares[a, b]) for a, b in itertools.pairwise(rolls[3][:, key]))
    np.testing.assert_allclose(found["the step before, smoothed"], total / 59)


def test_a_run_on_a_file_is_scored_drawn_and_composes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "_DRAWN", (1, 64))  # as the picture: one program for all
    rolls = [chorales.roll_of(piece)[:10] for piece in pieces(12)]  # one program for all
    cells = np.empty((1, 12), object)
    cells[0, :] = rolls
    parts = {"traindata": cells[:, :8], "validdata": cells[:, 8:10], "testdata": cells[:, 10:]}
    savemat(tmp_path / "music.mat", parts)
    run = tmp_path / "run"
    some = ("--only", "rnn", "--epochs", 2, "--seeds", 1)
    assert call("--data", tmp_path / "music.mat", "--out", run, *some) == 0
    rows = json.loads((run / "result.json").read_text())["rows"]
    figures = {(row["model"], row["split"], row["metric"]): row["mean"] for row in rows}
    expected = counted(rolls[:8], rolls[10:])["the step before, smoothed"]
    np.testing.assert_allclose(figures["the step before, smoothed", "test", "nll"], expected)
    assert figures["the pieces themselves", "test", "voices"] == 100
    history = json.loads((run / "rows" / "rnn" / "seed-0.json").read_text())["history"]
    best = min(line["validation_nll"] for line in history)
    np.testing.assert_allclose(figures["rnn", "validation", "nll"], best, rtol=1e-6)
    assert not any(row["kind"] == "published" for row in rows)
    assert (run / "rolls.png").stat().st_size > 5_000
    rate, sound = wavfile.read(run / "rnn-0.wav")
    assert len(sound) == 64 * 0.75 * rate + rate // 2

    capsys.readouterr()
    own = (run / "rnn-0.wav").read_bytes()
    assert call("--out", run, "--generate", 64) == 0  # beside the run's own piece
    assert f"{run / 'rnn-0-2.wav'}\n{run / 'rnn-0-2.mid'}" in capsys.readouterr().out
    assert 2 <= len(read_midi(run / "rnn-0-2.mid")) <= 64
    assert (run / "rnn-0.wav").read_bytes() == own
    path = run / "rows" / "rnn" / "model.json"
    path.write_text(path.read_text().replace('"keys"', '"none"'))
    for row, message in (("rnn", "an earlier version"), ("gru", "there is no trained network")):
        assert call("--out", run, "--generate", 8, "--only", row) == 2
        assert message in capsys.readouterr().err
    parts["traindata"][0, 0][0] = 0  # other pieces under the same name
    savemat(tmp_path / "music.mat", parts)
    assert call("--out", run, "--resume") == 2
    assert "pieces" in capsys.readouterr().err


def test_a_look_at_midi_leaves_the_test_part_alone(tmp_path, capsys):
    folder = tmp_path / "generated chorales"  # its name says nothing of its distribution
    folder.mkdir()
    for number, piece in enumerate(pieces(10)):
        write_midi(folder / f"{number}.mid", chorales.roll_of(piece), steps_per_beat=2)
    run = tmp_path / "run"
    how = ("--midi", folder, "--steps-per-beat", 2, "--quick", "--only", "logistic-1")
    assert call(*how, "--out", run) == 0
    assert "notes (100.0%) are long enough for --steps-per-beat 2" in capsys.readouterr().err
    rows = json.loads((run / "result.json").read_text())["rows"]
    assert {row["split"] for row in rows} == {"validation"}


def test_published_figures_stand_beside_the_benchmarks_chorales_alone():
    steps = {"train": 13_807, "validation": 4_602, "test": 4_725}
    parts = {name: (np.zeros((count, 88), np.uint8),) for name, count in steps.items()}
    music = Music(**parts, source="JSB_Chorales.mat")
    found = [row.mean for row in rows_of({}, music, test=True) if row.kind == "published"]
    assert found == list(PUBLISHED.values())
    other = music._replace(test=(np.zeros((4_724, 88), np.uint8),))
    assert not [row for row in rows_of({}, other, test=True) if row.kind == "published"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "grv"], "there is no row grv; see --list for the rows. Did you mean"),
        (["--data", "a.mat", "--midi", "b"], "--data and --midi: give one of them"),
        (["--data", "missing.mat"], "missing.mat: there is no such file"),
        (["--midi", "missing"], "missing: there is no such folder"),
        (["--steps-per-beat", "0"], "--steps-per-beat must be at least 1, not 0"),
        (["--learning-rate", "nan"], "--learning-rate must be above 0, not nan"),
        (["--dropout", "1"], "--dropout must be in [0, 1), not 1"),
        (["--generate", "8"], "there is no finished network to compose with"),
    ],
)
def test_bad_options_are_told(tmp_path, capsys, args, message):
    assert call("--out", tmp_path / "run", *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_mido_one_sentence_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "piece.mid").write_bytes(b"MThd")
    monkeypatch.setitem(sys.modules, "mido", None)
    assert call("--midi", tmp_path, "--out", tmp_path / "run") == 2
    assert "pip install -e '.[experiments]'" in capsys.readouterr().err
