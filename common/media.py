"""Opening recordings with FFmpeg: only files that hold sound and images themselves, never lists of others."""

from pathlib import Path
from typing import Any

import av

from common.errors import ImageError

_FORMATS = (
    "mov,matroska,avi,mpeg,mpegvideo,mpegts,flv,live_flv,asf,ogg,mxf,rm,dv,wtv,nut,ivf,yuv4mpegpipe,mjpeg,"
    "mpjpeg,m4v,h261,h263,h264,hevc,vvc,vc1,av1,obu,gif,apng,wav,mp3,aac,flac,"
    "w64,aiff,au,caf,amr,amrnb,amrwb,ac3,eac3,dts,wv,ape,tta,nistsphere,sox,voc,gsm"
)
"""FFmpeg's readers that may be used. None that opens what a file names: playlists, lists of files, numbered
images, devices."""


def open_media(path: Path, kind: str, error: type[ImageError], example: str, stream: Any = None) -> Any:
    """PyAV's container of a file, or of an open `stream` of bytes.

    Args:
        path: of the file; `file:` before it keeps FFmpeg from taking a part of the name for a protocol.
        kind: what the file should be, for the message.
        error: what is raised.
        example: of a format that is read.
        stream: read instead of the file, whose path then is only its name.

    Raises:
        ImageError: as `error`; no file of such a kind.
    """
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    source = f"file:{path}" if stream is None else stream
    try:
        return av.open(source, container_options=options, metadata_errors="replace")
    except av.error.ArgumentError:
        raise error(
            f"{path}: in a format that is not read, as lists of other files are not; convert it to {example}"
        ) from None
    except (av.error.FFmpegError, OSError) as failure:
        raise error(
            f"{path}: damaged, or not {kind}, whatever its name says ({failure.strerror}); "
            "copy or export it again"
        ) from None
