"""A run's own record, and the page that shows several side by side."""
