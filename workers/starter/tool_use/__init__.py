"""A second starter model that calls tools, trained on transcripts of the refund desk."""
