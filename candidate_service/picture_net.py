"""A vision net that the user brings, as a function from pictures to vectors: the only door to ONNX.

The net's own picture size is read from the model; pictures are scaled to cover it, cut to its
middle, and scaled to the mean and spread of ImageNet, as most nets were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service_runtime.errors import InvalidRequest, NotReady

SIDE_DEFAULT: Final = 224
"""Of models that take pictures of any size."""
MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
SPREAD: Final = np.array([0.229, 0.224, 0.225], np.float32)
"""Of the three colours over ImageNet (Krizhevsky et al. 2012 and nearly all nets since)."""


class PictureNet:
    """An opened model; `embed` may be called from one thread at a time.

    Attributes:
        output: The output whose values are the vectors.
        side: Pixels of a side of the pictures that it takes.
    """

    def __init__(self, path: Path, output: str = "", *, thread_count: int = 1) -> None:
        """Open a model.

        Args:
            path: An ONNX file that takes float32[n, 3, side, side].
            output: Which output is the vector; "" = the first.
            thread_count: Threads of one batch, >= 1.

        Raises:
            NotReady: onnxruntime is not installed.
            InvalidRequest: The file is no such model or has no such output.
        """
        try:
            import onnxruntime
        except ImportError as fault:
            raise NotReady(
                "embed_images needs onnxruntime", hint="pip install 'corkboard[images]'"
            ) from fault
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as fault:  # the library has an error class for every cause
            raise InvalidRequest(
                f"{path} cannot be opened as an ONNX model: {fault}", hint=_HINT
            ) from fault
        self._input = self._session.get_inputs()[0]
        outputs = [one.name for one in self._session.get_outputs()]
        if output and output not in outputs:
            raise InvalidRequest(
                f"{path} has no output {output!r}; it has {', '.join(outputs)}", hint=_HINT
            )
        self.output = output or outputs[0]
        self.side = _side_of(self._input.shape, path)

    def embed(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return one vector a picture, float32[n, d], as the model gives them.

        Raises:
            InvalidRequest: The output is not one vector a picture, or not finite.
        """
        batch = np.stack([prepared(picture, self.side) for picture in pictures])
        (found,) = self._session.run([self.output], {self._input.name: batch})
        vectors = np.asarray(found, np.float32)
        if vectors.ndim < 2 or len(vectors) != len(pictures):
            raise InvalidRequest(
                f"the output {self.output!r} has the shape {vectors.shape} for {len(pictures)} "
                "pictures, not one vector each",
                hint=_HINT,
            )
        vectors = vectors.reshape(len(vectors), -1)
        if not np.isfinite(vectors).all():
            raise InvalidRequest(f"the output {self.output!r} is not finite", hint=_HINT)
        return vectors


def prepared(picture: Image.Image, side: int) -> NDArray[np.float32]:
    """Return the middle of a picture as nets take it, float32[3, side, side], centred values."""
    width, height = picture.size
    scale = side / min(width, height)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    scaled = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    values = np.asarray(scaled.crop((left, top, left + side, top + side)), np.float32) / 255.0
    return np.ascontiguousarray(((values - MEAN) / SPREAD).transpose(2, 0, 1), np.float32)


def _side_of(shape: Sequence[Any], path: Path) -> int:
    """Return how large the model's pictures are."""
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise InvalidRequest(
            f"{path} takes {list(shape)}, not [pictures, 3, height, width]", hint=_HINT
        )
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise InvalidRequest(f"{path} takes pictures of {height} x {width}, not square ones")
    return height if isinstance(height, int) else SIDE_DEFAULT


_HINT: Final = "docs/visual-vectors.md says how to export one"
