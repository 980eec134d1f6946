"""The composition root: settings, listeners, maintenance and the log of a process."""
