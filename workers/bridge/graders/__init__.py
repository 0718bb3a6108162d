"""Work on graders: trials, checks, and the grading that others ask for."""
