"""Where there are no data, the phantom is made first."""

from pathlib import Path

from tests.small import small_config
from wcr_med.stages.inputs import check_data, ensure_phantom
from wcr_med.stages.workspace import Workspace


def test_the_phantom_is_written_once(tmp_path: Path) -> None:
    config = small_config(tmp_path / "kaggle_3m", tmp_path / "cache")
    data = config.data.model_copy(update={"phantom_patients": 3})
    workspace = Workspace(out=tmp_path / "run", config=config.model_copy(update={"data": data}))
    check_data(workspace)
    assert (workspace.out / "audit.json").exists()
    stamp = data.root.stat().st_mtime_ns
    ensure_phantom(data)
    assert data.root.stat().st_mtime_ns == stamp
