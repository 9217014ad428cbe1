"""Models without this code: exported graphs and folders, and what runs them without torch."""
