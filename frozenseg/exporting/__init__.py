"""Models as files that run without torch: export, and the runtime for what was exported."""
