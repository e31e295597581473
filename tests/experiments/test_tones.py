import json

import jax
import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from experiments import (
    tones as experiment,
    tones_baselines as baselines,
    tones_data as sounds,
    tones_generate as speech,
    tones_models as networks,
    tones_wav,
)
from experiments.tones_data import FRAME, LEVELS, RATE
from seqjax import launch, losses, runs
from seqjax.data.sound import mu_law_decode, mu_law_edges, read_wav, write_wav


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "Sound.", list(args))


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small networks and few sounds."""
    monkeypatch.chdir(tmp_path)
    for name, one in list(networks.RECIPES.items()):
        tiny = one._replace(width=4, skip=6, dilations=(1, 2, 4), samples=0.01)
        monkeypatch.setitem(networks.RECIPES, name, tiny)
    monkeypatch.setattr(sounds, "SIZES", (2, 1, 1))
    monkeypatch.setattr(experiment, "EPOCHS", 2)
    monkeypatch.setattr(speech, "_SENTENCE", "as")
    monkeypatch.setattr(speech, "_MEASURED", np.array([120.0]))


@pytest.fixture(scope="module")
def part():
    return sounds.generated((2, 1, 1)).train


def test_codes_cost_what_their_law_says():
    """One utterance, its voice filtered frame by frame, its noise by the innovations' law."""
    phones, pitch = sounds.spoken("as", frames=4), np.array([150.0])
    (phase,) = sounds.phases(pitch, phones.shape[1], first=0.3)
    (codes,), (bits,) = sounds.draw(phones, phase[None], np.random.default_rng(3))
    np.testing.assert_allclose(phase, (0.3 + np.arange(len(codes)) * 150 / RATE) % 1)
    heights, deviations = (np.exp(phones[0] @ np.log(each)) for each in sounds._gains())
    source, state, voice = sounds.glottis(phase).reshape(-1, FRAME), np.zeros(8), []
    for frame, weights in enumerate(phones[0]):
        a = sounds.poles(weights @ sounds.FORMANTS, sounds._WIDTHS)
        # The state of a filter of direct form II transposed, from what it has said so far.
        past = np.concatenate([*voice, np.zeros(0)])[::-1][:8]
        past = np.pad(past, (0, 8 - len(past)))
        state = np.array([-np.sum(a[k:] * past[: 8 - k]) for k in range(8)])
        said, _ = lfilter([1], [1, *a], heights[frame] * source[frame], zi=state)
        voice.append(said)
    voice = np.concatenate(voice)
    noise, edges = mu_law_decode(codes) - voice, mu_law_edges()
    colour = phones[0] @ sounds._COLOUR
    b = np.repeat(sounds.poles(colour[:, :1], colour[:, 1:]), FRAME, axis=0)
    before = np.pad(noise, (2, 0))
    mean = voice - b[:, 0] * before[1:-1] - b[:, 1] * before[:-2]
    law = norm(mean, np.repeat(deviations, FRAME))
    np.testing.assert_allclose(2**-bits, law.cdf(edges[codes + 1]) - law.cdf(edges[codes]), 1e-5)
    # And they were drawn from it: the law's quantiles are uniform.
    low, high = law.cdf(edges[codes]), law.cdf(edges[codes + 1])
    quantiles = np.sort(low + np.random.default_rng(0).random(len(low)) * (high - low))
    away = np.abs(quantiles - (np.arange(len(low)) + 0.5) / len(low)).max()
    assert away < 1.95 / np.sqrt(len(low))  # Kolmogorov's, one in a thousand


def test_the_generators_vowels_are_measured_at_their_pitch_and_formants():
    asked = speech.vowels()
    found = speech.measured(speech.of_generator(asked), asked)
    assert found["pitch"] < 0.2
    assert max(found["formant 1"], found["formant 2"]) < 4
    higher = asked._replace(pitch=asked.pitch * 1.25)  # asked for what was not said
    assert speech.measured(speech.of_generator(asked), higher)["pitch"] == pytest.approx(20, abs=1)
    silent = np.full((len(asked.pitch), asked.phones.shape[1] * FRAME), 1e-4)
    for nothing in (silent, 0 * silent):
        assert set(speech.measured(nothing, asked).values()) == {100.0}


def test_crops_hold_every_code_once_beside_its_vowel_and_pitch(part):
    found = sounds.crops(part, 800, 240)
    np.testing.assert_array_equal(found["codes"][:, -800:].reshape(-1), part.codes)
    np.testing.assert_array_equal(found["codes"][1:, :241], found["codes"][:-1, -241:])
    assert found["phones"].shape == (40, 13, 7)
    assert found["phase"].shape == (40, 1040, 1)
    np.testing.assert_array_equal(found["phase"][:, 240:].reshape(-1, 1), np.float32(part.phase))
    ends = found["phones"][:, 3:].reshape(-1, 7)
    np.testing.assert_array_equal(ends, part.phones.astype(np.float32))
    np.testing.assert_array_equal(found["pitch"][:, 0], np.float32(part.pitch[::10, 0]))


def test_linear_prediction_is_least_squares_of_the_past_and_a_law_of_codes(part):
    x = mu_law_decode(part.codes)
    rows = np.stack([np.pad(x, (k, 0))[: len(x)] for k in range(1, 17)], axis=1)
    expected = np.linalg.lstsq(rows, x, rcond=None)[0]
    found = baselines.fixed_coefficients(part)
    residuals = [np.mean((x - rows @ a) ** 2) for a in (found, expected)]
    np.testing.assert_allclose(*residuals, rtol=0.02)  # but for the ridge
    adaptive = baselines.adaptive_coefficients(part, 0.8)
    other = part.codes.copy()
    other[FRAME * 100 :] = 3
    changed = baselines.adaptive_coefficients(part._replace(codes=other), 0.8)
    np.testing.assert_array_equal(adaptive[:101], changed[:101])  # of what was before each frame
    assert np.abs(adaptive[101] - changed[101]).max() > 0.1
    shares = []
    for code in range(LEVELS):
        start = part._replace(codes=np.append(part.codes[:4000], code))
        predicted = baselines.predictions(start, found)
        shares.append(2 ** -baselines.laplace_bits(start, predicted, 32)[-1])
    assert sum(shares) == pytest.approx(1, abs=1e-9)
    rows = baselines.rows_of(sounds.generated((2, 1, 1)), test=True)
    # What is told has thousands of means, which two utterances do not tell.
    bits = [row.mean for row in rows if row.split == "test" and "told" not in row.model]
    assert bits == sorted(bits)  # the law, adaptive, fixed, histogram


def test_told_prediction_is_least_squares_with_a_mean_for_each_cell(part, monkeypatch):
    monkeypatch.setattr(baselines, "_SHRINK", 1e-9)
    monkeypatch.setattr(baselines, "_OF_PITCH", 2)
    monkeypatch.setattr(baselines, "_OF_PHASE", 8)
    monkeypatch.setattr(baselines, "_OF_PHONE", 16)
    part = sounds.Sounds(*(a[: len(a) // 4] for a in part))  # half an utterance
    x, phone = mu_law_decode(part.codes), np.repeat(part.phones.argmax(axis=1), FRAME)
    low, high = np.log2(80 / 120), np.log2(240 / 120)
    pitch = np.repeat(part.pitch[:, 0] > (low + high) / 2, FRAME)
    cell = (phone * 2 + pitch) * 8 + (part.phase[:, 0] * 8).astype(int)
    lags = np.stack([np.pad(x, (k, 0))[: len(x)] for k in range(1, 17)], axis=1)
    rows = np.hstack(
        [np.eye(112)[cell], (np.eye(7)[phone][:, :, None] * lags[:, None]).reshape(-1, 112)]
    )
    expected = rows @ np.linalg.lstsq(rows, x, rcond=None)[0]
    predicted, scales = baselines.told_prediction(part).predict(part)
    np.testing.assert_allclose(
        np.mean((x - predicted) ** 2), np.mean((x - expected) ** 2), rtol=0.02
    )
    residuals = np.abs(x - predicted)
    for one in np.unique(cell)[::5]:
        np.testing.assert_allclose(scales[cell == one], residuals[cell == one].mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["wavenet", "wavenet-logistics", "lstm"])
def test_what_is_generated_is_what_the_network_answers_to_it(name):
    """Sample by sample as the loss reads it: codes, and the vowel of the sample that follows."""
    recipe = networks.RECIPES[name]._replace(width=6, skip=8, dilations=(1, 2, 4))
    model = recipe.model(7, 1)
    params = jax.tree.map(lambda a: 3 * np.asarray(a), model.init(jax.random.key(1)))
    asked = speech.Spoken(sounds.spoken("ai", frames=3)[:, 9:15], np.array([150.0]))
    known = sounds.generated((2, 1, 1)).validation.codes[: speech.KNOWN]
    run = runs.Run(model, params, {"known": known.tolist(), "law": recipe.law}, [], 0)
    samples, speed = speech.generate(run, asked, temperature=0.0)
    assert speed > 0
    made = np.searchsorted(mu_law_decode(np.arange(LEVELS)), samples[0] - 1e-9)
    whole = np.concatenate([known, made])[None]
    # Beside each input stand the vowel and the phase of the sample that it is asked about.
    before = ((0, 0), (len(known) - 1, 0), (0, 0))
    phones = np.repeat(asked.phones, FRAME, axis=1)
    angles = 2 * np.pi * sounds.phases(asked.pitch, 6)[..., None] * np.array([1, 2, 4, 8])
    local = np.concatenate([phones, np.sin(angles), np.cos(angles)], axis=-1)
    context = {
        "local_condition": np.float32(np.pad(local, before, mode="edge")),
        "global_condition": np.float32([[np.log2(150 / 120)]]),
    }

    @jax.jit
    def answered(params, codes, context):
        y = model.apply(params, networks.as_inputs(codes), context=context)
        return networks.as_codes(networks.sampler(recipe.law, 0.0)(jax.random.key(0), y[0]))

    answers = np.asarray(answered(params, whole[:, :-1], context))
    off = np.abs(answers[len(known) - 1 :] - made)
    assert off.max() <= (recipe.law != "softmax")  # a mean between two codes, rounded otherwise
    assert np.mean(off > 0) < 0.01


def test_a_table_is_trained_kept_and_spoken(small, tmp_path, capsys, monkeypatch):
    assert call("--out", "run", "--seeds", "1", "--only", "wavenet") == 0
    assert "F1, % off" in capsys.readouterr().out
    run = tmp_path / "run"
    rows = json.loads((run / "result.json").read_text())["rows"]
    found = {(row["model"], row["metric"]): row["mean"] for row in rows}
    bound = found[sounds.GENERATOR, "test bits"]
    parts = sounds.generated((2, 1, 1))
    saved, whole = runs.load(run, "wavenet"), sounds.crops(parts.test, 3200, 560)

    @jax.jit
    def nats(params, codes, *told):
        context = networks.context_of(saved.model, *told)
        y = saved.model.apply(params, networks.as_inputs(codes[:, :-1]), context=context)
        return losses.cross_entropy(y[:, -3200:], codes[:, -3200:].astype(int))

    told = (whole[name] for name in ("codes", "phones", "phase", "pitch"))
    values = nats(saved.params, *told)
    bits = found["wavenet", "test bits"]
    np.testing.assert_allclose(bits, values.mean() / np.log(2), rtol=1e-5)
    assert bound < bits < 8
    for name in ("generator", "wavenet"):
        assert len(read_wav(run / f"{name}.wav", RATE)) == RATE * 104 // 200
    assert (run / "sounds.png").stat().st_size > 10_000
    (run / "said-1.wav").touch()
    assert call("--out", "run", "--say", "a", "--pitch", "150", "--temperature", "0.5") == 0
    assert "said-2.wav: 0.32 s" in capsys.readouterr().out
    assert len(read_wav(run / "said-2.wav", RATE)) == 0.32 * RATE

    kept = (run / "rows" / "wavenet" / "seed-0.json").read_bytes()
    monkeypatch.setattr(speech, "sentences", lambda *_, told: ({}, []))  # they are said already
    monkeypatch.setattr(experiment.pictures, "draw", lambda *_: run / "sounds.png")
    assert call("--out", "run", "--resume") == 0
    assert (run / "rows" / "wavenet" / "seed-0.json").read_bytes() == kept


def test_recordings_are_learned_and_continued(small, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    x = mu_law_decode(sounds.generated((2, 1, 1)).train.codes)
    for name, rate in (("a", 16_000), ("b", 8_000)):
        write_wav(folder / f"{name}.wav", np.tile(x, 8), rate)
    options = ["--wav", str(folder), "--out", "run", "--quick", "--only", "wavenet-logistics"]
    assert call(*options) == 0
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["rows"]
    assert {row["split"] for row in rows} == {"validation"}  # a look leaves the test part alone
    assert {row["model"] for row in rows if row["kind"] == "baseline"} == {
        "LPC-16, adaptive",
        "LPC-16, fixed",
        "histogram",
    }
    assert len(read_wav(tmp_path / "run" / "wavenet-logistics.wav", RATE)) == RATE * 104 // 200
    parts = tones_wav.recorded(folder, 10.0)
    total = sum(len(part.codes) for part in parts[:3])
    assert total == pytest.approx(16 * len(x) * 1.5, abs=3 * FRAME)
    for n in range(8):  # ten files: each is of one part
        write_wav(folder / f"c{n}.wav", np.random.default_rng(n).uniform(-1, 1, 9_600), RATE)
    whole = [read_wav(path, RATE) for path in folder.glob("*.wav")]
    sizes = [len(part.codes) for part in tones_wav.recorded(folder, 10.0)[:3]]
    assert sum(sizes) == pytest.approx(sum(map(len, whole)), abs=3 * FRAME)
    assert sizes[1] in [len(one) // FRAME * FRAME for one in whole]
    capsys.readouterr()
    some = tones_wav.recorded(folder, 31 / 60)
    assert sum(len(part.codes) for part in some[:3]) == pytest.approx(31 * RATE, abs=3 * FRAME)
    assert "mine: 0.5 of 0.9 minutes are read, of" in capsys.readouterr().err
    write_wav(folder / "a.wav", np.pad(x, (16 * RATE, 0)), RATE)  # its begin alone is silent
    some = tones_wav.recorded(folder, 0.5)
    assert sum(len(part.codes) for part in some[:3]) == pytest.approx(30 * RATE, abs=3 * FRAME)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "wavnet"], "there is no row wavnet"),
        (["--wav", "silent", "--minutes", "nan"], "--minutes must be above 0, not nan"),
        (["--samples", "0"], "--samples must be above 0, not 0"),
        (["--say", "ax"], "--say 'ax': there is no sound 'x'; they are i, e, a, o, u, s, _"),
        (["--say", "a", "--pitch", "20"], "--pitch must be from 80 to 240 Hz, not 20"),
        (["--say", "a", "--temperature", "-1"], "--temperature must be 0 or more, not -1"),
        (["--say", "a"], "there is no trained model 'wavenet'"),
        (["--wav", "none"], "none: there is no such folder"),
        (["--wav", "short"], "short: 1.0 s of sound are too few; record 30 s"),
        (["--wav", "silent"], "silent/a.wav: silence, one value from end to end"),
    ],
)
def test_bad_options_are_told(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").mkdir()
    (tmp_path / "silent").mkdir()
    write_wav(tmp_path / "short" / "a.wav", np.zeros(RATE), RATE)
    write_wav(tmp_path / "silent" / "a.wav", np.zeros(30 * RATE), RATE)
    assert call("--out", "run", *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
