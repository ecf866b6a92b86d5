"""What is reported: adaptation curves, their statistics and their pictures."""
