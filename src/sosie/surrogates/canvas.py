"""The cells around the middle of each event's frame, in the order in which all events look alike."""

from dataclasses import dataclass

import numpy as np

from sosie.detectors.base import Array, Frame


@dataclass(frozen=True)
class Canvas:
    """Cells (2 reach + 1)^2 around the middle of a frame, of a response of shape (w, h)."""

    shape: tuple[int, ...]
    reach: int

    @property
    def offsets(self) -> Array:
        """Cells from the middle, along either axis (2, cells)."""
        grid = np.mgrid[-self.reach : self.reach + 1, -self.reach : self.reach + 1]
        return grid.reshape(2, -1)

    @property
    def places(self) -> Array:
        """Offsets from the middle and its distance (cells, 4), each of the order of one."""
        offsets = self.offsets.astype(np.float64)
        distance = np.hypot(*offsets)
        scaled = np.vstack([offsets, distance]) / max(self.reach, 1)
        return np.column_stack([*scaled, np.log1p(distance)])

    def cells(self, frame: Frame) -> Array:
        """The cell of the flattened response (N, cells) that lies there; -1 where there is none."""
        first, second = self.offsets
        turned = frame.turned[:, None]
        along = np.where(turned, second, first), np.where(turned, first, second)
        index = np.zeros((len(turned), len(first)), np.int64)
        there = np.ones(index.shape, bool)
        for axis, count in enumerate(self.shape):
            sign = np.where(frame.mirrored[:, axis], -1, 1)
            cell = frame.centre[:, axis, None] + sign[:, None] * along[axis]
            there &= (cell >= 0) & (cell < count)
            index = index * count + cell
        return np.where(there, index, -1)

    def take(self, response: Array, cells: Array) -> Array:
        """What lies in the cells (N, cells) of responses (N, w, h); NaN where there is none."""
        flat = response.reshape(len(response), -1)
        found = np.take_along_axis(flat, np.maximum(cells, 0), axis=1)
        return np.where(cells >= 0, found, np.float32(np.nan))

    def put(self, values: Array, cells: Array) -> Array:
        """Responses (N, w, h) float32 of values (N, cells) in these cells, 0 beyond the canvas."""
        size = int(np.prod(self.shape))
        # What lies beyond the response falls into one more cell, which is cut off.
        flat = np.zeros((len(values), size + 1), np.float32)
        np.put_along_axis(flat, np.where(cells >= 0, cells, size), values, axis=1)
        return flat[:, :size].reshape(-1, *self.shape)
