"""The sample project: a data set and a grader, ready to upload."""
