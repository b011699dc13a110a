"""The one-file HTML report over a whole workdir, a module a section."""
