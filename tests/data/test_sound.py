"""Sound from files of every kind, and its codes."""

import struct

import numpy as np
import pytest
from scipy.io import wavfile

from seqjax.data import DataError, sound

RNG = np.random.default_rng(0)
WAVE = np.sin(np.arange(8_000) * 2 * np.pi * 440 / 16_000) / 2


@pytest.mark.parametrize("levels", [2, 16, 256, 65_536])
def test_codes_are_the_laws_and_their_samples_code_back(levels):
    codes = np.arange(levels)
    samples = sound.mu_law_decode(codes, levels)
    np.testing.assert_array_equal(sound.mu_law_encode(samples, levels), codes)
    # The law and the quantiser as they are defined, each apart.
    mu = levels - 1
    x = RNG.uniform(-1, 1, 10_000)
    companded = np.sign(x) * np.log(1 + mu * np.abs(x)) / np.log(1 + mu)
    found = sound.mu_law_encode(x, levels)
    assert np.abs(2 * found / mu - 1 - companded).max() <= 1 / mu + 1e-12
    edges = sound.mu_law_edges(levels)
    assert ((edges[found] <= x) & (x <= edges[found + 1])).all()
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(sound.mu_law_encode([-7, 7], levels), [0, levels - 1])


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 11_025])
def test_a_tone_at_another_rate_is_the_same_tone(rate):
    time = np.arange(rate) / rate
    found = sound.resampled(np.sin(2 * np.pi * 440 * time), rate, 16_000)
    assert len(found) == 16_000
    inner = slice(2_000, 14_000)  # the ends are the filter's
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)


def test_what_a_lower_rate_cannot_hold_is_gone():
    high = np.sin(2 * np.pi * 7_000 * np.arange(16_000) / 16_000)
    assert np.abs(sound.resampled(high, 16_000, 8_000)[500:-500]).max() < 0.01


def pcm_24(path, samples):
    """A file of 24 bits, byte by byte: SciPy writes none."""
    body = b"".join(struct.pack("<i", int(n))[:3] for n in np.round(samples * (2**23 - 1)))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 48_000, 3, 24)
    rest = b"WAVE" + form + struct.pack("<4sI", b"data", len(body)) + body
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(rest)) + rest)


@pytest.mark.parametrize(
    ("dtype", "step"),
    [("uint8", 2**-7), ("int16", 2**-15), ("24", 2**-23), ("int32", 2**-31), ("float32", 0)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_the_same_sound(dtype, step, channels, tmp_path):
    path = tmp_path / "a.wav"
    if dtype == "24":
        pcm_24(path, WAVE)
    else:
        both = np.stack([WAVE, WAVE], axis=1)
        both[:, 1] += 0.25 * np.cos(np.arange(8_000))  # of stereo, what differs is halved
        both[:, 0] -= 0.25 * np.cos(np.arange(8_000)) * (channels == 2)
        raw = both[:, : channels if channels == 2 else 1]
        if dtype == "uint8":
            raw = np.round(raw * 127) + 128
        elif dtype != "float32":
            raw = np.round(raw * (1 / step - 1))
        wavfile.write(path, 16_000, raw.astype(dtype))
    found = sound.read_wav(str(path), 16_000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WAVE, atol=1.01 * step + 1e-6)
    np.testing.assert_array_equal(sound.read_wav(path, 16_000, seconds=0.125), found[:2_000])


def test_of_long_files_no_more_is_read_than_was_asked_for(tmp_path):
    samples = np.full(9 * 8_000, 0.5, np.float32)
    samples[-1] = np.nan  # which would be told
    for name, seconds in (("a", 9), ("b", 1), ("c", 9)):
        wavfile.write(tmp_path / f"{name}.wav", 8_000, samples[-8_000 * seconds :])
    assert sound.wav_seconds(tmp_path / "a.wav") == 9
    wavfile.write(tmp_path / "b.wav", 8_000, samples[:8_000])
    found = sound.read_wavs(tmp_path, 16_000, seconds=5.0)
    assert {name: len(one) / 16_000 for name, one in found.items()} == {
        "a.wav": 2,
        "b.wav": 1,
        "c.wav": 2,
    }
    for number in range(40):  # many short ones, of which some are read whole
        wavfile.write(tmp_path / f"d{number}.wav", 8_000, samples[:8_000])
    found = [len(one) / 16_000 for one in sound.read_wavs(tmp_path, 16_000, seconds=20.0).values()]
    assert sum(found) == 20
    assert max(found) <= 2
    assert found.count(1) >= 12
    (tmp_path / "many").mkdir()
    for number in range(12):
        wavfile.write(tmp_path / "many" / f"{number}.wav", 8_000, samples[: 8_000 * 5])
    for seconds, expected in ((48.0, [4.8] * 10), (55.3, [5] * 11)):  # no scraps of one more
        found = sound.read_wavs(tmp_path / "many", 16_000, seconds).values()
        np.testing.assert_allclose([len(one) / 16_000 for one in found], expected, atol=1e-3)
    (tmp_path / "below" / "e.wav").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot be read"):
        sound.read_wavs(tmp_path / "below", 16_000, seconds=100.0)


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "below").mkdir()
    sound.write_wav(tmp_path / "b.wav", [0.5, 3.0, -3.0], 16_000)
    sound.write_wav(tmp_path / "below" / "a.WAV", WAVE, 8_000)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "._b.wav").write_bytes(b"what a system keeps beside a file")
    found = sound.read_wavs(tmp_path, 16_000)
    assert list(found) == ["b.wav", "below/a.WAV"]
    np.testing.assert_allclose(found["b.wav"], [0.5, 1, -1], atol=1e-4)
    assert len(found["below/a.WAV"]) == 16_000


def test_what_is_no_sound_is_told_with_its_file(tmp_path):
    path, rate = tmp_path / "a.wav", 16_000
    sound.write_wav(path, WAVE, rate)
    good = path.read_bytes()
    nan = WAVE.astype(np.float32)
    nan[5] = np.nan

    def broken(content, message):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as told:
            sound.read_wav(path, rate)
        assert str(told.value).startswith(f"{path}: ")

    for content in (b"", b"RIFF", b"ID3 an mp3 file, renamed", good[:20]):
        broken(content, "no WAV file of PCM or floats")
    broken(good[:20] + struct.pack("<H", 85) + good[22:], "no WAV file")  # MP3 inside
    broken(good[:24] + struct.pack("<II", 2**31, 0) + good[32:], "no WAV file|2147483648 samples")
    broken(good[:24] + struct.pack("<II", 0, 0) + good[32:], "says 0 samples a second")
    broken(good[:4] + bytes(4) + good[8:], "by its header it ends before its samples")
    wavfile.write(path, rate, nan)
    broken(path.read_bytes(), "sample 5 is not finite")
    wavfile.write(path, rate, np.float32(WAVE * 2**15))
    broken(path.read_bytes(), "its floats reach 1.638e.04, and full scale is 1")
    pcm_24(path, WAVE)
    broken(path.read_bytes()[:-1], "cut short: 23,999 bytes of samples where its header says 24,0")
    wavfile.write(path, rate, WAVE[:0].astype(np.float32))
    broken(path.read_bytes(), "no samples")
    with pytest.raises(DataError, match="no such file"):
        sound.read_wav(tmp_path / "none.wav", rate)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        sound.read_wav(tmp_path, rate)
    (tmp_path / "empty").mkdir()
    for folder, message in (("none", "no such folder"), ("empty", "no WAV files")):
        with pytest.raises(DataError, match=message):
            sound.read_wavs(tmp_path / folder, rate)


def test_cut_files_end_in_a_sentence_wherever_they_are_cut(tmp_path):
    path = tmp_path / "a.wav"
    sound.write_wav(path, WAVE[:40], 16_000)
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(DataError, match="cut short" if size >= 44 else "no WAV file"):
            sound.read_wav(path, 16_000)
    path.write_bytes(good[:40] + b"\xff" * 4 + good[44:-2])  # a stream: its length was not known
    assert len(sound.read_wav(path, 16_000)) == 39
