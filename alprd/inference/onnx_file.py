"""What an ONNX file says of itself, read without the onnx package: opsets and operators.

An ONNX file is a protobuf message. Of its fields (onnx.proto) only these are looked at: ModelProto
ir_version 1, producer_name 2, graph 7, opset_import 8; OperatorSetIdProto domain 1, version 2;
GraphProto node 1, input 11; NodeProto op_type 4, attribute 5, domain 7; AttributeProto g 6, graphs
11; ValueInfoProto name 1, type 2; TypeProto tensor_type 1; TypeProto.Tensor elem_type 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from alprd.ports import EngineError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _UINT8 = 1, 2  # of TensorProto.DataType
_DEPTH = 16  # graphs inside graphs; no export nests so deeply


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFacts:
    """What a file says of itself.

    Attributes:
        ir_version: of the format.
        producer: what wrote it; empty if it does not say.
        opsets: version by domain; "" is ONNX itself.
        operators: how often each is used, in graphs inside the graph too; "domain:Name" for those
            that are not ONNX's.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    operators: Mapping[str, int]

    @property
    def opset(self) -> int:
        """Of ONNX's own operators; 0 if the file names none."""
        return self.opsets.get("", self.opsets.get("ai.onnx", 0))

    @property
    def foreign(self) -> list[str]:
        """Operators that are not ONNX's own."""
        return sorted(name for name in self.operators if ":" in name)


def onnx_facts(onnx: bytes, origin: str) -> OnnxFacts:
    """Read them.

    Args:
        onnx: the file's content.
        origin: the file, for the message.

    Raises:
        EngineError: it is no ONNX file.
    """
    ir_version, producer = 0, ""
    opsets: dict[str, int] = {}
    operators: Counter[str] = Counter()
    graphs = 0
    try:
        for field, value in _fields(memoryview(onnx)):
            if field == 1 and isinstance(value, int):
                ir_version = value
            elif isinstance(value, int):
                continue
            elif field == 2:
                producer = bytes(value).decode("utf-8", "replace")
            elif field == 7:
                graphs += 1
                _count(value, operators, _DEPTH)
            elif field == 8:
                domain, version = _opset(value)
                opsets[domain] = version
    except ValueError as error:
        raise EngineError(
            f"{origin} is no ONNX file, or it is damaged ({error}); export the model as ONNX (UFF, "
            "Caffe, TFLite and Darknet files have to be converted: see engines/README.md)"
        ) from None
    if not graphs or not opsets:
        raise EngineError(
            f"{origin} is no ONNX file (it has no graph); export the model as ONNX (UFF, Caffe, "
            "TFLite and Darknet files have to be converted: see engines/README.md)"
        )
    return OnnxFacts(ir_version=ir_version, producer=producer, opsets=opsets, operators=operators)


def with_float_pixels(onnx: bytes, name: str) -> bytes:
    """The model with a float32 input where it takes 8-bit pixels, which it casts anyway.

    For TensorRT, whose plans get float32 from our kernels; newer releases let nobody say so of a
    network that is parsed. What comes before the cast (an axis moved) does not mind.

    Args:
        onnx: the file's content, known to be sound.
        name: of the input.
    """
    changed = bytearray(onnx)
    with memoryview(changed) as whole:
        for graph in _messages(whole, 7):
            for value in _messages(graph, 11):
                if bytes(next(_messages(value, 1), b"")) != name.encode():
                    continue
                for kind in _messages(value, 2):
                    for tensor in _messages(kind, 1):
                        # The element's type is written first, in one byte after its key.
                        if len(tensor) > 1 and (tensor[0], tensor[1]) == (1 << 3, _UINT8):
                            tensor[1] = _FLOAT
    return bytes(changed)


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Every text or message in a field."""
    for field, value in _fields(message):
        if field == wanted and not isinstance(value, int):
            yield value


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in _fields(message):
        if field == 1 and not isinstance(value, int):
            domain = bytes(value).decode("utf-8", "replace")
        elif field == 2 and isinstance(value, int):
            version = value
    return domain, version


def _count(graph: memoryview, operators: Counter[str], depth: int) -> None:
    if depth == 0:
        raise ValueError("graphs nested too deeply")
    for field, node in _fields(graph):
        if field != 1 or isinstance(node, int):
            continue
        name = domain = ""
        for part, value in _fields(node):
            if isinstance(value, int):
                continue
            if part == 4:
                name = bytes(value).decode("utf-8", "replace")
            elif part == 7:
                domain = bytes(value).decode("utf-8", "replace")
            elif part == 5:
                for inner, content in _fields(value):
                    if inner in (6, 11) and not isinstance(content, int):
                        _count(content, operators, depth - 1)
        operators[name if domain in ("", "ai.onnx") else f"{domain}:{name}"] += 1


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or the bytes of a text or message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            number, at = _varint(message, at)
            yield field, number
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if field == 0 or at + size > len(message):
            raise ValueError(f"cut off at byte {at}")
        if wire == _BYTES:
            yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError(f"cut off at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
