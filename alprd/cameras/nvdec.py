"""NVDEC: the GPU decodes, and the pictures stay in its memory.

FFmpeg (OpenCV's, in raw mode) connects, splits the stream into packets and knows their times, as it
does for every other camera: its time-outs, its RTSP over TCP and its errors are those of the CPU's
way. PyNvVideoCodec decodes the packets; its own demuxer has neither time-outs nor a way to be
interrupted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.cameras.capture import Capture
from alprd.cameras.nvdec_decoder import Decoder, NvdecRefused, Picture, gpu_decoding
from alprd.core.types import DeviceSurface
from alprd.ports import CameraError

CODECS: Final = {
    **dict.fromkeys(("h264", "avc1", "avc3", "x264"), "H264"),
    **dict.fromkeys(("hevc", "hvc1", "hev1", "h265"), "HEVC"),
}
"""FFmpeg's names, in small letters -> the module's. What cameras send; others are for FFmpeg."""

YUV420: Final = ("I420", "\0\0\0\0", "\xff\xff\xff\xff")
"""8 bits and half the colour resolution; or not known, before a stream's first key frame."""

PACKETS_PER_GRAB: Final = 100
"""Without a picture after so many, a grab of a file has failed."""

PACKETS_UNTIL_KEY: Final = 500
"""Pictures cannot be decoded before a key frame; after so many packets it is tried without."""

PACKETS_WITHOUT_PICTURE: Final = 1500
"""A live stream with so many, a minute of most, will not be decoded by waiting longer."""

FAILED_GRABS_AT_END: Final = 20
"""A damaged packet makes one grab of a file fail; so many in a row are its end."""

DECODER_ERRORS: Final = 3
"""In a row; each costs the pictures until the next key frame."""

TICKS_PER_MS: Final = 1000
"""Times go through the decoder as whole numbers."""


class NvdecCapture:
    """A `Decoded` on the GPU. Used by one thread; `close` may come from any.

    Args:
        live: a stream that comes as it happens: every picture is wanted at once.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._packets = Capture()
        self._busy = threading.Lock()
        self._decoder: Decoder | None = None
        self._picture: Picture | None = None
        self._pictures: deque[Picture] = deque()
        self._clear()

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._packets.closed

    def open(self, target: str, api: int, parameters: Sequence[int] = ()) -> bool:
        """Open a URL or file, again if need be; False when FFmpeg could not.

        Raises:
            NvdecRefused: there is no NVDEC here, or it does not decode such streams.
        """
        with self._call():
            self._clear()
            gpu = gpu_decoding()
            if not self._packets.open(target, api, (*parameters, cv2.CAP_PROP_FORMAT, -1)):
                return False
            self._codec = self._checked_codec()
            self._headers = self._stream_headers()
            self._decoder = Decoder(gpu, self._codec, live=self._live)
            return True

    def grab(self) -> bool:
        """Decode the next picture; False at the end, or when there is none for now.

        Raises:
            NvdecRefused: the decoder does not take this stream.
        """
        with self._call():
            self._picture = None
            self._receiving = False
            # Packets of a live stream come as slowly as its pictures: nobody may wait for many.
            for _ in range(1 if self._live else PACKETS_PER_GRAB):
                if not self._pictures and (self._ended or not self._feed()):
                    return False
                if self._pictures:
                    self._picture = self._pictures.popleft()
                    self._position_ms = self._picture.timestamp / TICKS_PER_MS
                    self._fruitless = 0
                    return True
            self._fruitless += 1
            self._receiving = self._live
            if self._receiving and self._fruitless >= PACKETS_WITHOUT_PICTURE:
                raise NvdecRefused(f"no picture came out of {self._fruitless} packets")
            return False

    @property
    def receiving(self) -> bool:
        """Whether the stream went on though the last `grab` gave no picture.

        So it is until the first key frame, which may be many seconds away.
        """
        return self._receiving

    def retrieve(self) -> DeviceSurface | None:
        """The grabbed picture, copied on the GPU. Raises NvdecRefused, GpuError."""
        with self._call():
            if self._picture is None or self._decoder is None:
                return None
            return self._decoder.surface(self._picture)

    def get(self, prop: int) -> float:
        """A property of the stream, or the grabbed picture's position."""
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self._position_ms
        return self._packets.get(prop)

    def set(self, prop: int, value: float) -> bool:
        """Ask for a property."""
        return self._packets.set(prop, value)

    def wait_closed(self, timeout_s: float) -> bool:
        """Pause; returns True at once when the capture gets closed."""
        return self._packets.wait_closed(timeout_s)

    def close(self) -> None:
        """Release now, or when the call that is under way returns. Idempotent."""
        self._packets.close()
        self._release_if_closed()

    def _clear(self) -> None:
        self._drop_decoder()
        self._headers = b""
        self._codec = ""
        self._until_key = PACKETS_UNTIL_KEY
        self._fed_ms = 0.0
        self._failed_grabs = 0
        self._errors = 0
        self._ended = False
        self._position_ms = 0.0
        self._any = False
        self._fruitless = 0
        self._receiving = False

    def _drop_decoder(self) -> None:
        self._picture = None
        self._pictures.clear()  # before what they lie in
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()

    def _checked_codec(self) -> str:
        """The module's name of the stream's codec. Raises NvdecRefused."""
        name = _four_letters(self._packets.get(cv2.CAP_PROP_FOURCC))
        codec = CODECS.get(name.lower())
        if codec is None:
            raise NvdecRefused(f"its codec is {name!r}, and not H.264 or H.265")
        layout = _four_letters(self._packets.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
        if layout not in YUV420:
            raise NvdecRefused("its pictures are not 4:2:0 of 8 bits")
        if self._packets.get(cv2.CAP_PROP_ORIENTATION_META) % 360:
            raise NvdecRefused("the file wants its pictures turned")
        return codec

    def _stream_headers(self) -> bytes:
        """What a camera says of its stream outside of it, as a decoder wants it before the rest."""
        channel = self._packets.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)
        data = self._packets.retrieve(int(channel)) if channel > 0 else None
        headers = b"" if data is None else data.tobytes()
        # The ones of MP4 and Matroska have another form; FFmpeg puts them into the packets.
        return headers if headers.startswith((b"\0\0\1", b"\0\0\0\1")) else b""

    def _feed(self) -> bool:
        """Give the decoder the next packet; False when there is none for now."""
        if not self._packets.grab():
            if self._live:
                return False
            self._failed_grabs += 1
            if self._failed_grabs >= FAILED_GRABS_AT_END:
                self._ended = True
                self._decode(None)
            return True
        self._failed_grabs = 0
        packet = self._packets.retrieve()
        if packet is None or not self._starts():
            return True
        self._fed_ms = self._packets.get(cv2.CAP_PROP_POS_MSEC)
        if self._headers:
            packet = np.concatenate([np.frombuffer(self._headers, np.uint8), packet.reshape(-1)])
            self._headers = b""
        self._decode(packet)
        return True

    def _starts(self) -> bool:
        """Whether the decoder can begin, or has begun, with this packet."""
        if self._until_key > 0:
            known = getattr(cv2, "CAP_PROP_LRF_HAS_KEY_FRAME", None)  # since OpenCV 4.5.4
            is_key = known is None or self._packets.get(known) > 0
            self._until_key = 0 if is_key else self._until_key - 1
        return self._until_key == 0

    def _decode(self, packet: NDArray[np.uint8] | None) -> None:
        """Give it a packet, or the end; what was decoded is in `_pictures`."""
        while self._decoder is not None:
            try:
                # NVDEC puts times in order: numbers that only rise, as packets come, it would take
                # for the order in which pictures are shown.
                ticks = round(self._fed_ms * TICKS_PER_MS)
                self._pictures.extend(self._decoder.decode(packet, ticks))
            except NvdecRefused:
                self._errors += 1
                if self._errors >= DECODER_ERRORS or not self._any:
                    raise
                # Such as at a change of resolution: another decoder takes what follows.
                self._renew_decoder()
                if packet is None or not self._starts():
                    return
            else:
                break
        if self._pictures:
            self._errors, self._any = 0, True

    def _renew_decoder(self) -> None:
        self._drop_decoder()
        self._until_key = PACKETS_UNTIL_KEY
        self._headers = self._stream_headers()
        self._decoder = Decoder(gpu_decoding(), self._codec, live=self._live)

    def _release_if_closed(self) -> None:
        while self._packets.closed and self._decoder is not None:
            if not self._busy.acquire(blocking=False):
                return  # whoever is in a call looks after it
            try:
                self._drop_decoder()
            finally:
                self._busy.release()

    @contextmanager
    def _call(self) -> Iterator[None]:
        try:
            with self._busy:
                if self._packets.closed:
                    raise CameraError("the camera was closed")
                yield
        finally:
            self._release_if_closed()


def _four_letters(code: float) -> str:
    return (int(code) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
