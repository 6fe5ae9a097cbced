"""Watches a job, says why it ended, and starts it again where that helps."""
