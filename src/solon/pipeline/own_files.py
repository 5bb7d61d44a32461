"""The two files that a run keeps of what it was asked: its header and its constitution, held to the run's manifest."""

from pathlib import Path

from solon.constitution import Constitution, load_run_constitution
from solon.errors import RecordError
from solon.pipeline.manifests import ManifestWriter
from solon.pipeline.observer import Observer
from solon.records import RunHeader, RunPaths
from solon.storage import file_digest, replace_file


def keep_own_files(
    paths: RunPaths,
    header: RunHeader,
    constitution: Constitution,
    manifest: ManifestWriter,
    observer: Observer,
    *,
    before: RunHeader | None,
) -> None:
    """Keep the header, which is there, and the constitution; what has changed is made again, and that said.

    Args:
        paths: the run's folder.
        header: what the run is asked for.
        constitution: what governs it.
        manifest: of the run as a whole.
        observer: learns what has changed.
        before: the header that is there, if it is to be replaced, as where a limit grows.
    """
    written = dict(manifest.before.outputs) if manifest.before is not None else {}

    def is_changed(file: Path) -> bool:
        return file.name in written and written[file.name] != file_digest(file)

    if is_changed(paths.header):
        observer.notice(f"{paths.header}: was not as the run wrote it: it is made again")
        header.save(paths.header)
    elif before is not None:
        # Until it is replaced the header is held to nothing, so that a kill in between leaves none that seems edited.
        manifest.amend({name: digest for name, digest in written.items() if name != paths.header.name})
        header.model_copy(update={"code_version": before.code_version}).save(paths.header)
    missing = not paths.constitution.is_file()
    if missing or is_changed(paths.constitution) or not _is_kept(paths, header):
        with replace_file(paths.constitution) as temporary:
            temporary.write_text(constitution.to_json() + "\n", encoding="utf-8")
        if manifest.before is not None or not missing:  # a run that begins has none yet
            why = "was missing" if missing else "was not the constitution of this run"
            observer.notice(f"{paths.constitution}: {why}: it is made again")
    manifest.amend({file.name: file_digest(file) for file in (paths.header, paths.constitution)})


def _is_kept(paths: RunPaths, header: RunHeader) -> bool:
    """Say whether the constitution of the header is the one in the folder."""
    try:
        load_run_constitution(paths, header)
    except RecordError:
        return False
    return True
