"""Project versions, each with the id that its next update resumes."""
