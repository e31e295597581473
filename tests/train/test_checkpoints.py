"""What is restored is what was saved, or an error that names what is wrong; nothing else."""

import gc
import json
import logging
import os
import resource
import shutil
import subprocess

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from seqjax.train import CheckpointError, Checkpoints

# A failing read leaves Orbax's other reads of the same checkpoint unawaited.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect_what_orbax_leaves():
    """Here, where it is expected, and not in a later test."""
    yield
    gc.collect()


STATE = {
    "w": jnp.arange(12.0).reshape(3, 4),
    "half": jnp.arange(5, dtype=ml_dtypes.bfloat16),
    "count": jnp.int32(7),
    "none": None,
}


def at(step):
    return jax.tree.map(lambda a: a + jnp.asarray(step, a.dtype), STATE)


def assert_state(found, step):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found, at(step))


def saved(folder, steps=(2, 4), **options):
    with Checkpoints(folder, {"run": 1}, every=1, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, at(step))
    return folder


def restored(folder, like=STATE, metadata=None):
    with Checkpoints(folder, {"run": 1} if metadata is None else metadata, every=1) as checkpoints:
        found = checkpoints.restore(like)
        return found and (found.step, found.state)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("in_background", [True, False])
def test_every_leaf_comes_back_bit_for_bit(tmp_path, in_background):
    step, state = restored(saved(tmp_path / "saves", in_background=in_background))
    assert step == 4
    assert_state(state, 4)


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path):
    assert restored(tmp_path / "saves") is None


def emptied(step):
    shutil.rmtree(step)
    step.mkdir()


def uncommitted(step):
    (step / "commit_success.txt").unlink()


def without_state(step):
    shutil.rmtree(step / "state")


def without_record(step):
    shutil.rmtree(step / "metadata")


def every_file_empty(step):
    for path in files_of(step / "state"):
        path.write_bytes(b"")


def another_record(step):
    path = step / "metadata" / "metadata"
    path.write_text(path.read_text().replace('"run": 1', '"run": 2'))


@pytest.mark.parametrize(
    "damage",
    [emptied, uncommitted, without_state, without_record, every_file_empty, another_record],
)
def test_the_one_before_is_used_and_it_is_told(tmp_path, caplog, damage):
    folder = saved(tmp_path / "saves")
    damage(folder / "4")
    step, state = restored(folder)
    assert step == 2
    assert_state(state, 2)
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert str(folder) in told.getMessage()
    assert "4" in told.getMessage()
    assert "incomplete save" in told.getMessage() or "step 4 is damaged" in told.getMessage()
    # The step can be saved anew, and is then the newest.
    saved(folder, [4])
    assert_state(restored(folder)[1], 4)


def test_a_damaged_checkpoint_is_kept_beside(tmp_path):
    folder = saved(tmp_path / "saves")
    every_file_empty(folder / "4")
    restored(folder)
    assert (tmp_path / "saves.damaged" / "4" / "commit_success.txt").exists()


def test_with_none_left_it_is_an_error_and_nothing_is_moved(tmp_path):
    folder = saved(tmp_path / "saves", [4])
    every_file_empty(folder / "4")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"saves: no checkpoint can be used: step 4: it "):
            restored(folder)


def outcome(folder, step):
    """ "exact", or "fell back"; anything else fails."""
    found, state = restored(folder)
    assert_state(state, found)
    return "exact" if found == step else "fell back"


def damage_and_restore(tmp_path, whole, damages):
    """Counts of outcomes; each damage on a copy of its own."""
    counts = {"exact": 0, "fell back": 0}
    for damage in damages:
        folder = tmp_path / "copy"
        shutil.copytree(whole, folder)
        damage(folder)
        counts[outcome(folder, 4)] += 1
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "copy.damaged", ignore_errors=True)
    return counts


def flip(relative, position, bit):
    def damage(folder):
        data = bytearray((folder / relative).read_bytes())
        data[position] ^= 1 << bit
        (folder / relative).write_bytes(data)

    return damage


def flips(whole, count):
    """Flipped bits, spread over all bytes of all files of the newest step."""
    rng = np.random.default_rng(count)
    files = [path for path in files_of(whole / "4") if path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in files])
    for number in range(count):
        # Every file comes first once; the large ones most often after.
        index = number if number < len(files) else rng.choice(len(files), p=sizes / sizes.sum())
        relative = files[index].relative_to(whole)
        yield flip(relative, int(rng.integers(sizes[index])), int(rng.integers(8)))


def truncations(whole):
    def shorten(relative, size):
        return lambda folder: os.truncate(folder / relative, size)

    def delete(relative):
        return lambda folder: (folder / relative).unlink()

    for path in files_of(whole / "4"):
        relative, size = path.relative_to(whole), path.stat().st_size
        yield delete(relative)
        for part in {0, size // 2, max(size - 1, 0)}:
            yield shorten(relative, part)


def test_flipped_bits_never_give_another_value(tmp_path):
    whole = saved(tmp_path / "whole")
    counts = damage_and_restore(tmp_path, whole, flips(whole, 16))
    assert counts["fell back"] >= 3


@pytest.mark.soak
def test_two_hundred_flipped_bits_and_every_file_truncated(tmp_path, record_property):
    whole = saved(tmp_path / "whole")
    flipped = damage_and_restore(tmp_path, whole, flips(whole, 200))
    cut = damage_and_restore(tmp_path, whole, truncations(whole))
    assert flipped["fell back"] >= 40
    record_property(
        "figure",
        f"4 a bad checkpoint: 200 flipped bits: {flipped['exact']} exact, {flipped['fell back']}"
        f" fell back, 0 wrong; every file deleted and cut at three places"
        f" ({sum(cut.values())}): {cut['exact']} exact, {cut['fell back']} fell back, 0 wrong",
    )


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            STATE | {"w": jnp.zeros((3, 8))},
            r"\['w'\] is float32\[3, 4\] in the checkpoint and float32\[3, 8\] in this",
        ),
        (STATE | {"w": jnp.zeros((3, 8))}, r"another width \(features\)"),
        (
            STATE | {"w": jnp.zeros((3, 4), jnp.float16)},
            r"is float32.* in the .* float16.* another dtype",
        ),
        (
            STATE | {"more": jnp.zeros(2)},
            r"\['more'\] is missing in the checkpoint and float32\[2\] in",
        ),
        (
            {"w": STATE["w"]},
            r"\['count'\] is int32\[\] in .* and missing in this run.*architecture",
        ),
    ],
)
def test_another_model_is_named_by_leaf_and_shape(tmp_path, like, message):
    folder = saved(tmp_path / "saves")
    with pytest.raises(CheckpointError, match=r"saves: step 4 holds another model: .*" + message):
        restored(folder, like)


def test_another_model_is_told_before_any_array_is_read(tmp_path):
    """An array that was never allocated, of a size that never could be."""
    folder = saved(tmp_path / "saves")
    like = STATE | {"w": jax.ShapeDtypeStruct((1 << 40, 1 << 20), jnp.float32)}
    with pytest.raises(
        CheckpointError, match=r"\[3, 4\] in the checkpoint and float32\[1099511627776, "
    ):
        restored(folder, like)


def rewritten(folder, **fields):
    """The record of step 4 with other fields, as another version would have written it."""
    from seqjax.train import records

    path = folder / "4" / "metadata" / "metadata"
    record = json.loads(path.read_text()) | fields
    del record["sha256"]
    record = {key: value for key, value in record.items() if value is not None}
    if fields.get("format", 1) is not None:
        record["sha256"] = records._checksum_of_json(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 9, "seqjax": "3.0.0"}, r"4: it was written by seqjax 3.0.0 in format 9; this"),
        ({"format": None, "seqjax": None}, r"4: it was written without a format; this is seqjax"),
    ],
)
def test_another_version_is_named(tmp_path, fields, message):
    folder = saved(tmp_path / "saves")
    rewritten(folder, **fields)
    with pytest.raises(CheckpointError, match=message):
        restored(folder)


def test_another_run_is_named(tmp_path):
    folder = saved(tmp_path / "saves")
    with pytest.raises(CheckpointError, match=r"belongs to another run: run was 1 and is now 2"):
        restored(folder, metadata={"run": 2})


def save_what_does_not_fit(folder, values, *, before=lambda: None, **options):
    noise = np.random.default_rng(0).normal(size=values).astype(np.float32)
    with Checkpoints(folder, {"run": 1}, every=1, **options) as checkpoints:
        before()
        checkpoints.save(6, {"w": jnp.asarray(noise)})


def assert_intact(folder, **options):
    assert_state(restored(folder)[1], 4)
    saved(folder, [6], **options)  # with room again
    assert_state(restored(folder)[1], 6)


@pytest.mark.parametrize("in_background", [True, False])
def test_a_full_disk_is_told_with_the_bytes_needed(tmp_path, in_background):
    """A limit on the size of files stands for it: writes fail in the middle of the save."""
    folder = saved(tmp_path / "saves", in_background=in_background)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, former[1]))

    message = r"saves: step 6 could not be saved: .*File too large.* It needs 400,000 bytes.*2, 4"
    try:
        with pytest.raises(CheckpointError, match=message):
            save_what_does_not_fit(folder, 100_000, before=fill, in_background=in_background)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert_intact(folder, in_background=in_background)


@pytest.mark.soak
def test_a_disk_that_is_really_full(tmp_path, record_property):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        for in_background in (True, False):
            folder = saved(disk / f"saves-{in_background}", in_background=in_background)
            with pytest.raises(CheckpointError, match=r"[Nn]o space left on device"):
                save_what_does_not_fit(folder, 500_000, in_background=in_background)
            assert_intact(folder, in_background=in_background)
            shutil.rmtree(folder)
    finally:
        subprocess.run(["umount", disk], check=True)
    record_property(
        "figure",
        "5 no space: a disk of 1 MB full in the middle of a save, in the background and not: told"
        " with the bytes needed, earlier checkpoints exact, later saves work",
    )


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CheckpointError, match="file/saves: no checkpoints can be written here: Not"
    ):
        Checkpoints(tmp_path / "file" / "saves", {}, every=1)
    with pytest.raises(ValueError, match=r"^gs://bucket/run: .*; mount the bucket and"):
        Checkpoints("gs://bucket/run", {}, every=1)


def test_several_incomplete_steps_and_no_other_are_an_error(tmp_path):
    """No kill leaves two: somebody copied them in part. A run must not begin anew for that."""
    folder = saved(tmp_path / "saves")
    for step in ("2", "4"):
        uncommitted(folder / step)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="none of the steps 2, 4 is complete"):
            restored(folder)


def test_a_random_key_in_the_state_is_kept(tmp_path):
    state = {"key": jax.random.key(3)}
    with Checkpoints(tmp_path, {}, every=1) as checkpoints:
        checkpoints.save(1, state)
    with Checkpoints(tmp_path, {}, every=1) as checkpoints:
        found = checkpoints.restore(state).state
    assert jax.random.uniform(found["key"]) == jax.random.uniform(state["key"])


@pytest.mark.parametrize("fields", [{"run": None}, {"leaves": {".w": 3}}, {"leaves": None}])
def test_a_record_of_another_form_is_damage(tmp_path, fields):
    folder = saved(tmp_path / "saves")
    rewritten(folder, **fields)
    assert restored(folder)[0] == 2


def test_a_folder_is_free_again_when_its_checkpoints_are_forgotten(tmp_path):
    checkpoints = Checkpoints(tmp_path, {}, every=1)
    del checkpoints
    gc.collect()
    with Checkpoints(tmp_path, {}, every=1):
        pass


def test_two_runs_in_one_folder_are_refused(tmp_path):
    folder = saved(tmp_path / "saves")
    with (
        Checkpoints(folder, {"run": 1}, every=1),
        pytest.raises(CheckpointError, match="saves: another run is writing here"),
    ):
        Checkpoints(folder, {"run": 1}, every=1)
    assert_state(restored(folder)[1], 4)


def test_only_the_newest_stay(tmp_path):
    folder = saved(tmp_path / "saves", [1, 2, 3, 4], keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_orbaxs_tracebacks_of_a_failed_save_are_not_printed(tmp_path):
    """Hundreds of lines before the one of the error; what others log is left alone."""
    logger, orbax = logging.getLogger("absl"), "/site-packages/orbax/checkpoint/_src/future.py"

    def told(path, level):
        return bool(logger.filter(logger.makeRecord("absl", level, path, 1, "failed", (), None)))

    with Checkpoints(tmp_path / "saves", {}, every=1):
        with Checkpoints(tmp_path / "others", {}, every=1):
            pass
        assert not told(orbax, logging.ERROR)
        assert told(orbax, logging.WARNING)
        assert told("/site-packages/absl/app.py", logging.ERROR)
    assert told(orbax, logging.ERROR)  # of the user's own saves
