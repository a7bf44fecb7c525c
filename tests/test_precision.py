"""Products are in bfloat16 where the processor multiplies such numbers, and nowhere else."""

import pytest
import torch

from models.precision import mixed


@pytest.mark.parametrize(
    ("held", "dtype"),
    [
        ({"avx2": True, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"neon": True, "bf16": True}, torch.bfloat16),
    ],
)
def test_what_products_are_in(held: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: held)
    with mixed(torch.device("cpu")):
        assert (torch.ones(2, 3) @ torch.ones(3, 2)).dtype is dtype
