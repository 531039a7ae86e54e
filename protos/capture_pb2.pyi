from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mark(_message.Message):
    __slots__ = ("technique", "step", "mode", "subject", "profile")
    TECHNIQUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    technique: str
    step: str
    mode: str
    subject: str
    profile: str
    def __init__(self, technique: _Optional[str] = ..., step: _Optional[str] = ..., mode: _Optional[str] = ..., subject: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...

class Recorded(_message.Message):
    __slots__ = ("time", "seconds", "caller", "source", "group", "tier", "network", "rows", "marks")
    TIME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    time: float
    seconds: float
    caller: str
    source: str
    group: str
    tier: str
    network: str
    rows: int
    marks: _containers.RepeatedCompositeFieldContainer[Mark]
    def __init__(self, time: _Optional[float] = ..., seconds: _Optional[float] = ..., caller: _Optional[str] = ..., source: _Optional[str] = ..., group: _Optional[str] = ..., tier: _Optional[str] = ..., network: _Optional[str] = ..., rows: _Optional[int] = ..., marks: _Optional[_Iterable[_Union[Mark, _Mapping]]] = ...) -> None: ...

class Observed(_message.Message):
    __slots__ = ("time", "caller", "groups", "signature", "digests", "fingerprints", "embeddings", "classes", "margins", "entropies", "marked")
    TIME_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINTS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MARGINS_FIELD_NUMBER: _ClassVar[int]
    ENTROPIES_FIELD_NUMBER: _ClassVar[int]
    MARKED_FIELD_NUMBER: _ClassVar[int]
    time: float
    caller: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    signature: str
    digests: bytes
    fingerprints: bytes
    embeddings: bytes
    classes: bytes
    margins: bytes
    entropies: bytes
    marked: bool
    def __init__(self, time: _Optional[float] = ..., caller: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., signature: _Optional[str] = ..., digests: _Optional[bytes] = ..., fingerprints: _Optional[bytes] = ..., embeddings: _Optional[bytes] = ..., classes: _Optional[bytes] = ..., margins: _Optional[bytes] = ..., entropies: _Optional[bytes] = ..., marked: bool = ...) -> None: ...

class Scale(_message.Message):
    __slots__ = ("centre", "scale")
    CENTRE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    centre: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, centre: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ...) -> None: ...

class Live(_message.Message):
    __slots__ = ("scaling", "observed", "end")
    class Scales(_message.Message):
        __slots__ = ("inputs",)
        class InputsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: Scale
            def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Scale, _Mapping]] = ...) -> None: ...
        INPUTS_FIELD_NUMBER: _ClassVar[int]
        inputs: _containers.MessageMap[str, Scale]
        def __init__(self, inputs: _Optional[_Mapping[str, Scale]] = ...) -> None: ...
    class End(_message.Message):
        __slots__ = ("dropped_rows", "reason")
        DROPPED_ROWS_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        dropped_rows: int
        reason: str
        def __init__(self, dropped_rows: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
    SCALING_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    scaling: Live.Scales
    observed: Observed
    end: Live.End
    def __init__(self, scaling: _Optional[_Union[Live.Scales, _Mapping]] = ..., observed: _Optional[_Union[Observed, _Mapping]] = ..., end: _Optional[_Union[Live.End, _Mapping]] = ...) -> None: ...
