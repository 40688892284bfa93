"""Degradations that act on rows and columns by one matrix each."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.degradations.base import Degradation
from diffcli.utils.compile import full_precision

RESOLUTION = 1e-3
"""The gain of a mode of the image below which a linear estimate leaves the mode out: half precision rounds it away, and
no prior describes it well."""
SPREAD = 0.3
"""Standard deviation of the pixels of an image in [-0.5, 0.5], about."""


class Separable(Degradation):
    """A_t x = R_t x C_t', with R_t acting along the rows' axis and C_t along the columns'.

    A subclass registers the two tables as buffers: ``rows``, float32 (T + 1, H, H), and ``columns``, (T + 1, W, W).
    """

    rows: Tensor
    columns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._filters: tuple[Tensor, ...] | None = None

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """R_t x C_t'."""
        return self.rows[t][:, None] @ x0 @ self.columns[t][:, None].mT

    def wiener(self, xt: Tensor, t: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The linear estimate of x_0 from x_t by a Wiener filter, (B, C, H, W): what a blur left of each mode is
        amplified, as far as the noise and ``RESOLUTION`` allow.

        In the singular bases of R_t and C_t, a mode of which s is left is multiplied by s / (s^2 + r^2), where r^2 =
        RESOLUTION^2 + (sigma_t^2 + sigma^2) / SPREAD^2; pixels are taken as equally strong in every mode (Gonzalez &
        Woods, Digital Image Processing, "Minimum Mean Square Error (Wiener) Filtering"). The factor 1 + r^2 keeps the
        brightness.

        Args:
            sigma: standard deviation of the measurement noise in each x_t, (B,); None is none.
        """
        if self._filters is None or self._filters[0].device != xt.device:
            with torch.inference_mode(False):
                self._filters = self._filter_tables(xt.device)
        with full_precision(xt.device):
            left, right, gain, back_left, back_right, left_over = (table[t][:, None] for table in self._filters)
            if sigma is not None:
                noise = RESOLUTION**2 + (self.sigma(t).square() + sigma.view(-1, 1, 1, 1).square()) / SPREAD**2
                gain = left_over / (left_over.square() + noise) * (1 + noise)
            return (back_left @ ((left @ xt.float() @ right) * gain) @ back_right).to(xt.dtype)

    def _filter_tables(self, device: torch.device) -> tuple[Tensor, ...]:
        """Both singular bases, the filter of each pair of modes, the bases to go back to pixels, and what is left of
        each pair, float32 (T + 1, ., .) each."""
        (u_rows, s_rows, v_rows), (u_columns, s_columns, v_columns) = (
            torch.linalg.svd(table.cpu().double()) for table in (self.rows, self.columns)
        )
        gains = s_rows[:, :, None] * s_columns[:, None, :]
        noise = RESOLUTION**2 + (self.sigmas.cpu() / SPREAD).square()[:, None, None]
        gain = gains / (gains.square() + noise) * (1 + noise)
        tables = (u_rows.mT, u_columns, gain, v_rows.mT, v_columns, gains)
        return tuple(table.float().to(device) for table in tables)
