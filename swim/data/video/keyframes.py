"""Whether a picture, and all that is shown after it, decodes without earlier packets.

The key-frame mark of containers does not guarantee that: H.264 also marks points from which the picture recovers over
time, and pictures after an I frame may still refer to earlier ones. So the coded picture itself is read. "Shown after"
matters for open groups of pictures: those sent after a key frame but shown before it may need the previous group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_IDR_H264 = 5
_LAST_SLICE_H264 = 5
_INTRA_HEVC = range(16, 22)  # broken-link, instantaneous-refresh and clean-random-access pictures
_LAST_SLICE_HEVC = 31
_HEADER_AV1, _SEQUENCE_AV1, _FRAME_AV1 = 3, 1, 6


def decodes_alone(codec: str, extradata: bytes, packet: bytes) -> bool:
    """Whether decoding may begin at `packet`, a whole coded picture that its container marks as a key frame.

    `extradata` are the codec's headers as the container keeps them. False for every codec that is not known here.
    """
    test = _KEY_FRAME_TESTS.get(codec)
    return test is not None and test(extradata, packet)


def one_picture_per_packet(codec: str, smallest_bytes: int) -> bool:
    """Whether every packet of a stream shows exactly one picture, given the size of its smallest packet."""
    # MPEG-4 repeats a picture with a packet of 7 or 8 bytes, and players treat these differently from file to file.
    return codec in _KEY_FRAME_TESTS and (codec != "mpeg4" or smallest_bytes > 32)


def _h264(extradata: bytes, packet: bytes) -> bool:
    length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 4 else 0
    kinds = (packet[start] & 31 for start in _units(packet, length_bytes))
    return next((kind for kind in kinds if 1 <= kind <= _LAST_SLICE_H264), None) == _IDR_H264


def _hevc(extradata: bytes, packet: bytes) -> bool:
    length_bytes = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 21 else 0
    kinds = (packet[start] >> 1 & 63 for start in _units(packet, length_bytes))
    return next((kind for kind in kinds if kind <= _LAST_SLICE_HEVC), None) in _INTRA_HEVC


def _units(packet: bytes, length_bytes: int) -> Iterator[int]:
    """The start of each unit of H.264 or HEVC: after its length, or after a start code if `length_bytes` is 0."""
    at = 0
    while length_bytes and at + length_bytes < len(packet):
        yield at + length_bytes
        at += length_bytes + int.from_bytes(packet[at : at + length_bytes], "big")
    if not length_bytes:
        while (at := packet.find(b"\0\0\1", at)) >= 0 and at + 3 < len(packet):
            at += 3
            yield at


def _vp9(extradata: bytes, packet: bytes) -> bool:
    first = packet[0]
    profile_3 = first & 0b0011_0000 == 0b0011_0000
    flags = first << 1 if profile_3 else first  # one reserved bit more
    return first >> 6 == 0b10 and flags & 0b1100 == 0  # no repetition of an older picture, and a key frame


def _av1(extradata: bytes, packet: bytes) -> bool:
    """A shown key frame, its sequence header in the same packet."""
    at, sequence = 0, False
    while at + 1 < len(packet):
        kind, extended, sized = packet[at] >> 3 & 15, packet[at] & 4, packet[at] & 2
        at += 2 if extended else 1
        size, shift = 0, 0
        while sized and at < len(packet) and shift < 56:
            byte = packet[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        if kind in (_HEADER_AV1, _FRAME_AV1):
            # Bits: repetition of an older picture, two for the type (0 is a key frame), shown.
            return sequence and at < len(packet) and packet[at] >> 4 == 0b0001
        sequence = sequence or kind == _SEQUENCE_AV1
        if not sized:
            return False
        at += size
    return False


def _mpeg2(extradata: bytes, packet: bytes) -> bool:
    at = packet.find(b"\0\0\1\0")
    return 0 <= at < len(packet) - 5 and packet[at + 5] >> 3 & 7 == 1


def _mpeg4(extradata: bytes, packet: bytes) -> bool:
    at = packet.find(b"\0\0\1\xb6")
    return 0 <= at < len(packet) - 4 and packet[at + 4] >> 6 == 0


def _always(extradata: bytes, packet: bytes) -> bool:
    return True


_KEY_FRAME_TESTS: dict[str, Callable[[bytes, bytes], bool]] = {
    "h264": _h264,
    "hevc": _hevc,
    "vp9": _vp9,
    "av1": _av1,
    "mpeg1video": _mpeg2,
    "mpeg2video": _mpeg2,
    "mpeg4": _mpeg4,
    "mjpeg": _always,
    "prores": _always,
}
