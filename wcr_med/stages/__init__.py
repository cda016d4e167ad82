"""The stations of the main job. Each reads files, writes files with a manifest, and can be run alone or again."""
