"""What is looked at, compared and said before the first step."""
