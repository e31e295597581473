import mido
import numpy as np
import pytest
from scipy.io import savemat

from seqjax.data import DataError
from seqjax.data.midi import read_midi, read_midi_folder, write_midi
from seqjax.data.music import held_notes, read_mat, sound_of

PARTS = ("traindata", "validdata", "testdata")


def random_roll(rng, steps, share=0.1):
    roll = (rng.random((steps, 88)) < share).astype(np.uint8)
    roll[0, 0] = roll[-1, 87] = 1  # it begins and ends with sound
    return roll


def cells(*rolls):
    found = np.empty((1, len(rolls)), object)
    found[0, :] = rolls
    return found


@pytest.mark.parametrize("steps_per_beat", [1, 3, 4, 7])
def test_a_roll_comes_back_from_midi(tmp_path, steps_per_beat):
    rng = np.random.default_rng(steps_per_beat)
    for steps in (2, 3, 50):
        roll = random_roll(rng, steps)
        write_midi(tmp_path / "a.mid", roll, steps_per_beat)
        np.testing.assert_array_equal(read_midi(tmp_path / "a.mid", steps_per_beat), roll)


def test_held_notes_are_the_runs_of_each_key():
    roll = random_roll(np.random.default_rng(0), 40, share=0.4)
    again = np.zeros_like(roll)
    for key, on, off in held_notes(roll):
        assert not again[on:off, key].any()
        assert on == 0 or not roll[on - 1, key]
        again[on:off, key] = 1
    np.testing.assert_array_equal(again, roll)


def test_midi_of_others_is_read_as_it_sounds(tmp_path):
    # 100 ticks a beat; a piano and drums; both ways to end a note, one that never ends.
    piano = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, time=220),  # a fifth of a beat late
            mido.Message("note_on", note=60, velocity=0, time=160),  # at 380: until beat 4
            mido.Message("note_on", note=64, time=40),  # at 420
            mido.Message("note_off", note=64, time=20),  # at 440, over before beat 5's quarter
            mido.Message("note_on", note=10, time=0),  # no key of a piano
            mido.Message("note_on", note=67, time=70),  # at 510, never let go
            mido.MetaMessage("end_of_track", time=290),  # at 800
        ]
    )
    drums = mido.MidiTrack(
        [mido.Message("note_on", note=36, channel=9), mido.Message("program_change", time=900)]
    )
    path = tmp_path / "band.mid"
    mido.MidiFile(type=1, ticks_per_beat=100, tracks=[piano, drums]).save(path)
    expected = np.zeros((7, 88), np.uint8)  # from beat 2 to the end of all tracks, beat 9
    expected[:2, 60 - 21] = 1
    expected[2, 64 - 21] = 1
    expected[3:, 67 - 21] = 1
    np.testing.assert_array_equal(read_midi(path), expected)
    # After a short note off the beat, which is lost; the E, ten ticks earlier, too, of one.
    for name, late in (("a", 60), ("b", 70)):
        short = [mido.Message("note_on", note=50, time=late)]
        short.append(mido.Message("note_off", note=50, time=20))
        track = mido.MidiTrack([*short, *piano])
        mido.MidiFile(type=1, ticks_per_beat=100, tracks=[track]).save(tmp_path / f"{name}.mid")
    assert read_midi_folder(tmp_path).notes == (3 + 2 + 3, 3 + 4 + 4)


def test_a_note_is_held_beside_a_shorter_one_of_another_track(tmp_path):
    path = tmp_path / "over.mid"
    tracks = [
        mido.MidiTrack(
            [mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=100 * beats)]
        )
        for beats in (4, 1)  # on the same channel
    ]
    last = [mido.Message("note_on", note=62, time=400), mido.Message("note_off", note=62, time=100)]
    tracks.append(mido.MidiTrack(last))
    mido.MidiFile(type=1, ticks_per_beat=100, tracks=tracks).save(path)
    assert read_midi(path)[:, 60 - 21].tolist() == [1, 1, 1, 1, 0]


def test_a_damaged_midi_file_is_told(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.mid"
    write_midi(path, random_roll(rng, 12))
    whole = path.read_bytes()
    messages = []
    for trial in range(150):
        broken = bytearray(whole[: rng.integers(len(whole))] if trial % 2 else whole)
        for at in rng.integers(0, max(len(broken), 1), 3) if trial % 2 == 0 else ():
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            roll = read_midi(path)
        except DataError as error:  # and nothing else
            messages.append(str(error))
        else:
            assert set(np.unique(roll)) <= {0, 1}
    assert len(messages) > 50
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert max(map(len, messages)) < len(str(path)) + 150


def test_midi_without_a_beat_or_a_piece_is_told(tmp_path):
    path = tmp_path / "odd.mid"
    write_midi(path, random_roll(np.random.default_rng(0), 4))
    whole = path.read_bytes()
    path.write_bytes(whole[:12] + b"\xe7\x28" + whole[14:])  # 25 frames a second
    with pytest.raises(DataError, match="timed in seconds"):
        read_midi(path)
    mido.MidiFile(type=2, tracks=[mido.MidiTrack()]).save(path)
    with pytest.raises(DataError, match="type 2"):
        read_midi(path)
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(path)
    with pytest.raises(DataError, match="no notes on a piano's 88 keys outside percussion"):
        read_midi(path)
    brief = [mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=1)]
    mido.MidiFile(tracks=[mido.MidiTrack(brief)]).save(path)
    with pytest.raises(DataError, match="notes at 0 step"):
        read_midi(path)
    long = [mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=2**27)]
    mido.MidiFile(tracks=[mido.MidiTrack(long)], ticks_per_beat=1).save(path)
    with pytest.raises(DataError, match="more than 100,000"):
        read_midi(path)


def test_a_folder_is_split_by_piece_and_copies_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    rolls = [random_roll(rng, 5 + k) for k in range(10)]
    for k, roll in enumerate([*rolls, rolls[3]]):
        (tmp_path / str(k % 2)).mkdir(exist_ok=True)
        write_midi(tmp_path / str(k % 2) / f"{k}.MID", roll)
    (tmp_path / "._0.mid").write_bytes(b"what a system keeps beside a file")
    music = read_midi_folder(tmp_path)
    assert music.notes == (sum(len(held_notes(roll)) for roll in rolls),) * 2
    assert [len(part) for part in music.parts().values()] == [6, 2, 2]
    found = sorted(len(roll) for part in music.parts().values() for roll in part)
    assert found == [len(roll) for roll in rolls]
    (tmp_path / "few").mkdir()
    with pytest.raises(DataError, match=r"few: 0 different piece\(s\) in 0 MIDI file"):
        read_midi_folder(tmp_path / "few")
    with pytest.raises(DataError, match="there is no such folder"):
        read_midi_folder(tmp_path / "none")


def test_a_benchmark_file_is_read_as_it_was_written(tmp_path):
    from scipy.sparse import csc_array

    rng = np.random.default_rng(0)
    rolls = [random_roll(rng, steps) for steps in (3, 9, 2)]
    written = cells(rolls[0].astype(float), rolls[1].astype(bool), csc_array(rolls[2]))
    path = tmp_path / "music.mat"
    savemat(path, {**dict.fromkeys(PARTS, written), "other": 1}, do_compression=True)
    for part in read_mat(path).parts().values():
        for found, roll in zip(part, rolls, strict=True):
            np.testing.assert_array_equal(found, roll)
            assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"testdata": None}, "there is no variable testdata; it must hold all of traindata, valid"),
        ({"validdata": np.zeros((4, 88))}, "validdata must be a cell array"),
        ({"validdata": np.empty((1, 0), object)}, "validdata must be a cell array of one piece"),
        (
            {"testdata": cells(np.eye(3, 88), np.eye(88, 3))},
            "testdata{2}: a piece must be [steps, 88] with 2 steps or more, but",
        ),
        ({"testdata": cells(np.eye(1, 88))}, "testdata{1}: a piece must be [steps, 88]"),
        ({"traindata": cells(2 * np.eye(3, 88))}, "traindata{1}: a piece must hold zeros and one"),
        ({"traindata": cells(np.full((3, 88), np.nan))}, "traindata{1}: a piece must hold zer"),
        ({"traindata": cells("abc")}, "traindata{1}: "),
    ],
)
def test_a_file_of_other_contents_is_told(tmp_path, changed, message):
    whole = dict.fromkeys(PARTS, cells(np.eye(3, 88))) | changed
    path = tmp_path / "music.mat"
    savemat(path, {name: value for name, value in whole.items() if value is not None})
    with pytest.raises(DataError) as caught:
        read_mat(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_that_is_none_of_matlabs_is_told(tmp_path):
    path = tmp_path / "music.mat"
    with pytest.raises(DataError, match="there is no such file"):
        read_mat(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(DataError, match=r"7\.3 \(HDF5\)"):
        read_mat(path)
    savemat(path, dict.fromkeys(PARTS, cells(np.eye(3, 88))))
    whole = path.read_bytes()
    for size in (0, 50, 127, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=f"^{path}: "):
            read_mat(path)


def test_sound_is_the_sum_of_its_notes_and_as_long_as_they_are():
    rate, step = 8_000, 0.25
    chord, low, high = (np.zeros((4, 88), np.uint8) for _ in range(3))
    low[:2, 30] = high[1:, 42] = 1
    chord = low | high
    both = [sound_of(roll, rate, step) for roll in (low, high)]
    whole = sound_of(chord, rate, step)
    assert len(whole) == 4 * step * rate + rate // 2
    # Each is scaled to its own peak; the sum is found again among their mixtures.
    scales, error, *_ = np.linalg.lstsq(np.stack(both, 1), whole, rcond=None)
    assert scales.min() > 0.1
    assert error[0] < 1e-10
    for roll, sound in zip((low, high), both, strict=True):
        ends = np.split(sound[: 4 * 2_000], 4)  # of the steps: what ended before has faded
        loud = [bool(np.abs(one[-400:]).max() > 0.05) for one in ends]
        assert loud == roll.any(axis=1).tolist()
    assert not sound_of(np.zeros((3, 88)), rate).any()
    with pytest.raises(ValueError, match="must be"):
        sound_of(np.zeros((3, 87)), rate)
