"""Videos and cameras: every frame segmented, a labelled clip and the segments written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.keys import pressed
from frozenseg.cli.segment_job import Counts, Job
from frozenseg.errors import describe
from frozenseg.files import NotWrittenError
from frozenseg.predict.clip_files import ClipFiles
from frozenseg.progress import Progress

if TYPE_CHECKING:
    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.video import Frame, Video

MOST_WAITING = 32  # frames in memory that wait for the others of their batch


def segment_videos(job: Job, files: Mapping[Path, str]) -> Counts:
    """Writes the results of all readable videos.

    A file that is not a video is named and counted as bad; one that ends early too, but the results
    of its frames are kept.
    Args: files: the name of the results of every file.
    """
    from frozenseg.predict.video import open_video

    counts = Counts()
    for path, name in files.items():
        if _is_done(job, path, name):
            counts.kept += 1
            continue
        try:
            with open_video(path) as video:
                missing = segment_clip(job, video, name, job.about_video(path))
        except (OSError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            if isinstance(error, NotWrittenError) and error.is_about_folder:
                kept = f"the results of {counts.done + counts.kept} of {len(files)} videos are kept"
                raise OSError(f"{error}; {kept}") from error
            counts.bad += 1
            print(f"skipped {describe(error)}", file=sys.stderr, flush=True)
            continue
        counts.bad += bool(missing)
        counts.done += not missing
    return counts


def record(job: Job, camera: Video) -> Counts:
    """Segments what a camera sees until q, Ctrl-C or `max_frames`.

    Raises: ValueError if the camera gives no picture.
    """
    name = f"{camera.name.replace(' ', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    about = {"video": camera.name, "model": job.segmenter.about, "settings": job.about_settings()}
    with pressed("q") as stop:
        print(f"{camera.name}: q or Ctrl-C ends the recording", flush=True)
        return Counts(bad=1) if segment_clip(job, camera, name, about, stop) else Counts(done=1)


def segment_clip(
    job: Job, video: Video, name: str, about: dict[str, Any], stop: Callable[[], bool] = bool
) -> int:
    """Segments a video and writes its files; the number of frames that could not be read.

    Ctrl-C keeps the frames so far, and is raised again. Any other error leaves no file.
    Raises: ValueError if no frame can be read; OSError if the results cannot be written.
    """
    if not (video.fps_is_known or video.is_live):
        print(f"{video.name}: no frame rate in the file, {video.fps:g} per second are assumed")
    files = ClipFiles(job.folder, name, kinds=job.kinds, fps=video.fps)
    about = {**about, **job.words()}
    try:
        with Progress(_total(job, video), Path(video.name).name, "frame") as progress:
            for frame, result, segmented in segmented_frames(job, _wanted(job, video, stop)):
                files.add(frame, result, segmented)
                progress.advance()
        if not files.frames:
            raise ValueError(f"{video.name}: no frame could be read: not a video, or damaged")
        missing = _missing(video)
        paths = files.finish({**about, "complete": True, "missing_frames": missing})
    except KeyboardInterrupt:
        if files.frames:
            paths = files.finish({**about, "complete": False})
            print(f"{video.name}: stopped, kept the first {_say(files.frames, paths)}")
        raise
    finally:
        files.discard()
    print(f"{video.name}: {_say(files.frames, paths)}", flush=True)
    if missing:
        print(f"{video.name}: {_why(video, missing)}", file=sys.stderr, flush=True)
    return missing


def segmented_frames(
    job: Job, frames: Iterable[Frame]
) -> Iterator[tuple[Frame, Segmentation, int]]:
    """Frames in their order, with a segmentation and the number of the frame it belongs to.

    Of every `job.every` frames the first is segmented, `job.batch_size` of them together; the
    others get the result of the last one before them.
    """
    last: tuple[Segmentation, int] | None = None
    for chunk in _chunks(job, frames):
        chosen = [each.image_HW3 for each in chunk if each.number % job.every == 0]
        found = iter(job.segment(chosen) if chosen else ())
        for each in chunk:
            if each.number % job.every == 0:
                last = next(found), each.number
            assert last is not None  # the very first frame, number 0, is segmented
            yield each, *last


def _chunks(job: Job, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Frames until `job.batch_size` of them are to be segmented; none waits without need."""
    chunk: list[Frame] = []
    for frame in frames:
        chunk.append(frame)
        chosen = sum(each.number % job.every == 0 for each in chunk)
        if chosen in (0, job.batch_size) or len(chunk) >= MOST_WAITING:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _wanted(job: Job, video: Video, stop: Callable[[], bool]) -> Iterator[Frame]:
    """The frames of a video until it ends, there are enough, or somebody stops it."""
    for frame in video:
        yield frame
        if stop() or (job.max_frames is not None and video.read >= job.max_frames):
            return


def _total(job: Job, video: Video) -> int | None:
    known = [each for each in (job.max_frames, video.announced) if each is not None]
    return min(known, default=None)


def _missing(video: Video) -> int:
    """Frames that could not be read; a camera that ends by itself counts as one."""
    return int(video.ended) if video.is_live else video.missing


def _why(video: Video, missing: int) -> str:
    if video.is_live:
        return f"the camera gave no more pictures after {video.read} frames"
    of = "" if video.announced is None else f" of {video.announced}"
    return f"{missing}{of} frames could not be read: the file is damaged or incomplete"


def _say(frames: int, paths: dict[str, Path]) -> str:
    return f"{frames} frame{'' if frames == 1 else 's'} -> {', '.join(map(str, paths.values()))}"


def _is_done(job: Job, path: Path, name: str) -> bool:
    """Whether the video's files are there, of all its frames, made in the same way."""
    paths = [job.folder / f"{name}.jsonl"]
    if "overlay" in job.kinds:
        clips = [job.folder / f"{name}_overlay{suffix}" for suffix in (".mp4", ".avi")]
        paths.append(next((each for each in clips if each.is_file()), clips[0]))
    about = {**job.about_video(path), "complete": True, "missing_frames": 0}
    return job.is_done(paths, job.folder / f"{name}.json", about)
