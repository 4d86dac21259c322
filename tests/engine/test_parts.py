"""The engine's small parts: devices, clocks, signals, checkpoints as bytes, grids, norms found."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm

from ganbench.engine import checkpoint
from ganbench.engine.clock import Clock
from ganbench.engine.device import matmul_precision, no_advice, set_up
from ganbench.engine.gan import GAN, build_gan, norms_of
from ganbench.engine.images import PADDING, grid, png
from ganbench.engine.signals import ECHO_SECONDS, Interrupted, StopSignals
from ganbench.errors import ConfigError, RunError
from ganbench.hardware import native_precision, resolve_device, usable_cores

CPU = torch.device("cpu")


# --- device -----------------------------------------------------------------------------------------


def test_device_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ConfigError, match=f"device={name}: asked for, but .*device=cpu or device=auto"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").type == "cuda" and resolve_device("cuda:1").index == 1
    for index in (2, 256, 10**20):  # torch keeps eight bits of it
        with pytest.raises(ConfigError, match=f"device=cuda:{index}: asked for, but .* has 2 CUDA devices"):
            resolve_device(f"cuda:{index}")


@pytest.mark.parametrize("deterministic", [True, False])
def test_algorithms_are_chosen_by_their_times_unless_they_must_repeat(deterministic: bool) -> None:
    before = torch.get_num_threads()
    try:
        set_up(None, deterministic)
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        set_up(before, deterministic=False)


def test_native_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("ganbench.hardware.has_native_bfloat16", lambda native=native: native)
        assert native_precision("cpu") == precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for capability, precision in (((9, 0), "bfloat16"), ((7, 5), "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert native_precision("auto") == precision


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:", "cuda:x", "cpu:0", "cuda:-1", "cuda:01"])
def test_unknown_device(name: str) -> None:
    with pytest.raises(ConfigError, match="must be auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("1", "1,8"):  # 8 for regions within regions
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert usable_cores() == 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for text in ("", "0", "many", "²", "100000"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert usable_cores() == cores
    set_up(threads=2, deterministic=False)
    assert torch.get_num_threads() == 2
    set_up(threads=1, deterministic=True)
    assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
    set_up(threads=1, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_compiler_takes_the_threads_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    before = torch.get_num_threads()
    set_up(1, deterministic=False)
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "1"
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "5")
    set_up(before, deterministic=False)
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "5", "somebody's own choice"


def test_torchs_advice_on_products_is_not_passed_on() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with no_advice():
            warnings.warn(
                "TensorFloat32 tensor cores for float32 matrix multiplication available", stacklevel=1
            )
            warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["something else"]


def test_products_are_in_tf32_on_cuda_beside_bfloat16_only() -> None:
    before = torch.get_float32_matmul_precision()
    for name, precision, inside in (
        ("cuda", "bfloat16", "high"),
        ("cuda", "bfloat16_penalty", "high"),
        ("cuda", "float32", before),
        ("cpu", "bfloat16", before),
    ):
        with pytest.raises(KeyError), matmul_precision(torch.device(name), precision):
            assert torch.get_float32_matmul_precision() == inside
            raise KeyError
        assert torch.get_float32_matmul_precision() == before == "highest"


# --- clock ------------------------------------------------------------------------------------------


def test_every_second_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(CPU)
    now[0] += 1  # other
    with clock("train"):
        now[0] += 2
        with clock("eval"):
            now[0] += 4
        now[0] += 8
    with pytest.raises(KeyError), clock("eval"):
        now[0] += 16
        raise KeyError
    now[0] += 32
    assert clock.read() == {"train": 10.0, "eval": 20.0, "other": 33.0}


# --- signals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_waits_for_the_step(number: int) -> None:
    before = signal.getsignal(number)
    done = False
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught, StopSignals() as stop:
        with stop.deferred():
            with stop.deferred():
                os.kill(os.getpid(), number)
            done = True
        pytest.fail("the signal was lost")
    assert done and caught.value.signum == number
    assert signal.getsignal(number) == before
    assert not isinstance(caught.value, Exception), "no handler of errors may swallow it"


def test_outside_a_step_a_signal_acts_at_once() -> None:
    with pytest.raises(Interrupted), StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was lost")


def test_a_second_signal_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    now = [0.0]
    monkeypatch.setattr("ganbench.engine.signals.time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(Interrupted), StopSignals() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert codes == [], "the echo of the first, from a group of processes that got it as a whole"
        now[0] += ECHO_SECONDS
        os.kill(os.getpid(), signal.SIGINT)
    assert codes == [128 + signal.SIGINT]


# --- checkpoint -------------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was() -> None:
    state = {"step": 3, "w": torch.randn(3), "nested": [{"a": 1.5, "b": None}], "name": "x"}
    found = checkpoint.from_bytes(checkpoint.to_bytes(state))
    assert torch.equal(found.pop("w"), state.pop("w"))
    assert found == {"schema": 1, **state}


def test_every_flipped_byte_is_noticed_or_harmless() -> None:
    """A checkpoint is never read as another one: each tenth byte is turned over in turn."""
    data = checkpoint.to_bytes({"w": torch.arange(64.0)})
    harmless = noticed = 0
    for index in range(0, len(data), max(1, len(data) // 150)):
        altered = bytearray(data)
        altered[index] ^= 0xFF
        try:
            found = checkpoint.from_bytes(bytes(altered))
        except RunError:
            noticed += 1
            continue
        harmless += 1
        assert torch.equal(found["w"], torch.arange(64.0)), f"byte {index}"
    assert harmless and noticed


def test_a_record_marked_as_a_folder_is_refused() -> None:
    """torch reads nothing of it and says nothing: one flipped bit in the archive's directory."""
    data = bytearray(checkpoint.to_bytes({"w": torch.arange(64.0)}))
    entries = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]
    assert len(entries) >= 4
    for entry in entries:
        altered = bytearray(data)
        altered[entry + 38] ^= 0x10  # external attributes
        with pytest.raises(RunError, match="not a checkpoint"):
            checkpoint.from_bytes(bytes(altered))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def test_loading_executes_nothing() -> None:
    buffer = BytesIO()
    torch.save({"schema": 1, "x": Evil()}, buffer)
    with pytest.raises(RunError, match="unreadable"):
        checkpoint.from_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "content, complaint",
    [([1], "not a checkpoint"), ({"a": 1}, "not a checkpoint"), ({"schema": 99}, "newer")],
)
def test_other_archives_are_refused(content: Any, complaint: str) -> None:
    buffer = BytesIO()
    torch.save(content, buffer)
    with pytest.raises(RunError, match=complaint):
        checkpoint.from_bytes(buffer.getvalue())


# --- pictures and networks --------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_puts_images_row_by_row(channels: int) -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, channels, 4, 3)
    sheet = grid(images, columns=2)
    assert sheet.shape == (channels, 3 * (4 + PADDING) + PADDING, 2 * (3 + PADDING) + PADDING)
    for index in range(5):
        top, left = index // 2 * (4 + PADDING) + PADDING, index % 2 * (3 + PADDING) + PADDING
        assert torch.equal(sheet[:, top : top + 4, left : left + 3], images[index])
    assert (sheet == 255).sum() == sheet.numel() - images.numel()


@pytest.mark.parametrize("channels, shown", [(2, 1), (4, 3), (5, 3)])
def test_png_shows_what_a_picture_can(channels: int, shown: int) -> None:
    image = torch.randint(0, 256, (channels, 6, 5), dtype=torch.uint8)
    assert png(image) == png(image[:shown])


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_png_is_lossless(channels: int, mode: str) -> None:
    import numpy as np
    from PIL import Image

    sheet = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    image = Image.open(BytesIO(png(sheet, zoom=3)))
    assert (image.mode, image.size) == (mode, (21, 15))
    pixels = torch.from_numpy(np.array(image)).reshape(15, 21, channels)[::3, ::3].permute(2, 0, 1)
    assert torch.equal(pixels, sheet)


class ConditionalNorm(nn.BatchNorm2d):
    """Batch norm by another name."""


@pytest.mark.parametrize(
    "layer, found",
    [
        (nn.Linear(2, 2), set()),
        (nn.BatchNorm1d(2), {"batch"}),
        (ConditionalNorm(2), {"batch"}),
        (nn.BatchNorm2d(2), {"batch"}),
        (nn.SyncBatchNorm(2), {"batch"}),
        (nn.InstanceNorm2d(2, affine=True), set()),
        (nn.GroupNorm(1, 2), set()),
        (nn.LayerNorm(2), {"layer"}),
        (spectral_norm(nn.Linear(2, 2)), {"spectral"}),
        (hooked_spectral_norm(nn.Linear(2, 2)), {"spectral"}),
        (nn.Sequential(nn.BatchNorm1d(2), spectral_norm(nn.Linear(2, 2))), {"batch", "spectral"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_norms_are_found_in_the_network_itself(layer: nn.Module, found: set[str]) -> None:
    assert norms_of(nn.Sequential(nn.Linear(2, 2), layer)) == found


def test_learning_rates_of_the_two_networks(gan_of: Callable[..., GAN]) -> None:
    gan = gan_of("loss=bce", "loss.d_lr=4e-4", "loss.g_lr=1e-4")
    rates = [gan.d_opt.param_groups[0]["lr"], gan.g_opt.param_groups[0]["lr"]]
    assert rates == [4e-4, 1e-4]
    assert gan.d_opt.param_groups[0]["betas"] in ([0.5, 0.999], (0.5, 0.999))


class Volume(nn.Conv3d):
    """A critic of the image as a volume of depth 1."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x[:, None]).mean((1, 2, 3, 4))


def test_kernels_lie_channels_last_where_there_is_such_a_layout(configure: Any) -> None:
    gan = build_gan(configure("model=dcgan"), CPU)
    layouts = [weight.stride()[1] for weight in gan.discriminator.parameters() if weight.ndim == 4]
    assert layouts and set(layouts) == {1}
    config = configure("model=dcgan")
    config["model"]["discriminator"] = {
        "_target_": f"{__name__}.Volume", "in_channels": 1, "out_channels": 2, "kernel_size": [1, 3, 3],
    }  # fmt: skip
    assert build_gan(config, CPU).discriminator.weight.shape == (2, 1, 1, 3, 3)


def test_latents_are_standard_normal(gan_of: Callable[..., GAN]) -> None:
    """Mean 0 and variance 1 to five standard errors of 500,000 values."""
    z = gan_of("loss=bce").latents(5000, CPU)
    assert z.shape == (5000, 100) and z.dtype == torch.float32
    assert z.mean().item() == pytest.approx(0.0, abs=5 / 500_000**0.5)
    assert z.var().item() == pytest.approx(1.0, abs=5 * (2 / 500_000) ** 0.5)
