"""What an evaluation asks of held-out rows, and how the answers are added up."""
